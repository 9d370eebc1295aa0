"""The vessel board in a real browser: by keyboard alone, on a tablet, at 200 %, without scripts, without network."""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from board_cases import PASSWORD, Demo, now, write_vessels
from browser_cases import served, started_browser

pytestmark = pytest.mark.xdist_group("browser")
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
TO_PRESS = (
    "button, select, summary, a.button, a.count, header a, .card h2 a, label.choice, "
    "input:not([type=hidden]):not([type=radio]):not([type=checkbox])"
)
TOO_SMALL = f"""[...document.querySelectorAll('{TO_PRESS}')]
.map(e => [e, e.getBoundingClientRect()])
.filter(([e, r]) => r.width > 0 && !e.closest('.skip') && (r.height < 43.9 || r.width < 43.9))
.map(([e]) => e.outerHTML.slice(0, 80))"""
AGAIN = """new Promise(done => {{
  document.getElementById('fresh').dataset.refreshS = '{seconds}';
  const again = document.createElement('script');
  again.src = '/board/static/board.js?again';
  again.onload = done;
  document.head.append(again);
}})"""
"""Starts the page's own script once more, with another period: a minute is too long for a test."""
WAIT = "new Promise(done => setTimeout(done, {ms}))"
ONLINE = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
CONTRAST = r"""(() => {
const parse = text => text.match(/[\d.]+/g).map(Number);
const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const ground = e => {
  for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const e of document.querySelectorAll('main *')) {
  const own = [...e.childNodes].some(one => one.nodeType === 3 && one.data.trim());
  if (!own || e.closest('svg') || !e.checkVisibility()) continue;
  const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push([e.innerText.slice(0, 40), ratio.toFixed(2)]);
}
return found })()"""


@pytest.fixture(scope="module")
def browser():
    with started_browser() as found:
        yield found


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A filled board of which two vessels scanned three hours ago are signed or reviewed by no one yet."""
    scanned = now() - timedelta(hours=3)
    folder = tmp_path_factory.mktemp("browser")
    return Demo(folder, write_vessels(folder / "images", scanned), scanned).fill()


@pytest.fixture(scope="module")
def base(demo):
    with served(demo.app) as address:
        yield address


@pytest.fixture
def page(browser, base):
    """A browser in which nobody is logged in, 1280 pixels wide, that has seen no fault yet."""
    browser.call("Network.clearBrowserCookies")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.call(
        "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )
    browser.size(1280)
    browser.faults.clear()
    browser.requests.clear()
    yield browser
    assert browser.faults == []
    elsewhere = [one for one in browser.requests if urlsplit(one).netloc != urlsplit(base).netloc]
    assert elsewhere == []


def log_in(page, base, username, wanted="/board"):
    """Log in by keyboard alone."""
    page.go(base + wanted)
    page.wait("document.activeElement.name === 'username'")
    page.write(username)
    page.press("Tab")
    page.write(PASSWORD)
    with page.loading():
        page.press("Enter")
    assert page.run("location.pathname") == wanted.partition("?")[0]


def test_sign_a_vessel_by_keyboard_alone_and_see_the_focus_all_the_way(page, base):
    """From logging in over the vessel and its record to the signature, without a mouse."""
    log_in(page, base, "approver")
    passed = page.tab_to("e.innerText === 'READY-1'")
    with page.loading():
        page.press("Enter")
    passed += page.tab_to("e.innerText.startsWith('Open the record')")
    with page.loading():
        page.press("Enter")
    passed += page.tab_to("e.name === 'meaning'", most=120)
    page.press("ArrowDown", times=2)
    passed += page.tab_to("e.name === 'password'")
    page.write(PASSWORD)
    passed += page.tab_to("e.innerText === 'Sign this record'")
    with page.loading():
        page.press("Enter")
    assert "Approver Person (approver)" in page.run("document.querySelector('.signature').innerText")
    assert "Meaning: approval" in page.run("document.querySelector('.signature').innerText")
    assert [one for one in passed if one["tag"] != "BODY" and not one["seen"]] == []


def test_the_first_tab_skips_to_the_content(page, base):
    log_in(page, base, "viewer")
    page.press("Tab")
    assert page.focus() == {"tag": "A", "text": "Skip to content", "seen": True}
    assert page.run("document.activeElement.getBoundingClientRect().top") >= 0
    page.press("Enter")
    page.press("Tab")
    assert page.run("document.getElementById('content').contains(document.activeElement)")


def paths(demo):
    record = f"/board/records/{demo.decided['DOUBT-4']}"
    return (
        "/board",
        "/board/vessels/DENSE-2",
        record,
        "/board/records",
        "/board/rules",
        "/board/rules/site-a@1",
        "/board/words",
    )


@pytest.mark.parametrize(("width", "scale"), [(1280, 1), (1024, 1), (768, 1), (1280, 2), (768, 2)])
def test_nothing_scrolls_sideways_and_fingers_find_what_to_press(page, base, demo, width, scale):
    """At 200 % a window of 768 pixels has the room of 384."""
    log_in(page, base, "approver")
    page.size(width, scale=scale)
    for path in paths(demo):
        page.go(base + path)
        assert not page.run(WIDE), path
        assert page.run(TOO_SMALL) == [], path


def test_every_image_is_shown(page, base):
    log_in(page, base, "viewer", "/board/vessels/DENSE-2")
    page.run("document.querySelectorAll('img').forEach(one => { one.loading = 'eager' })")
    page.run("Promise.all([...document.images].map(one => one.decode()))")
    assert page.run("[...document.images].every(one => one.naturalWidth > 0)")


def test_the_policy_lets_the_style_sheet_in(page, base):
    """A page whose own rules kept its style out would still be readable, and ugly."""
    page.go(base + "/board/login")
    assert page.run("getComputedStyle(document.querySelector('button.main')).backgroundColor") == "rgb(29, 86, 136)"


def test_without_scripts_everything_is_there_and_refreshes(page, base):
    log_in(page, base, "viewer")
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.go(base + "/board?text=layer+2")
    html = page.call("DOM.getOuterHTML", nodeId=page.call("DOM.getDocument")["root"]["nodeId"])["outerHTML"]
    assert html.count('<li class="card') == 2
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in html.replace("\n", "")


def test_the_page_says_so_when_the_board_is_out_of_reach(page, base):
    """The shift lead reads that what is shown may be old; what is shown stays."""
    log_in(page, base, "viewer")
    assert page.run("document.getElementById('stale').hidden")
    page.run(AGAIN.format(seconds=0.2))
    page.run("document.querySelector('input[name=text]').focus()")
    page.run(WAIT.format(ms=600))
    assert page.run("document.getElementById('stale').hidden"), "nothing moves while somebody types"
    page.call("Network.emulateNetworkConditions", **ONLINE | {"offline": True})
    page.run("document.activeElement.blur()")
    page.run(WAIT.format(ms=1000))
    assert not page.run("document.getElementById('stale').hidden")
    assert page.run("document.querySelectorAll('.card').length") == 6
    assert any("ERR_INTERNET_DISCONNECTED" in one for one in page.faults)
    page.faults.clear()


def test_it_refreshes_by_itself(page, base):
    log_in(page, base, "viewer")
    with page.loading():
        page.run(AGAIN.format(seconds=0.3))


def test_verdicts_are_told_apart_without_colour(page, base):
    """Each word is there and large enough; in forced colours the shapes keep their form."""
    log_in(page, base, "viewer")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    words = page.run("[...document.querySelectorAll('.card .badge .word')].map(e => [e.innerText, e.offsetHeight])")
    page.call("Emulation.setEmulatedMedia", features=[])
    assert [word for word, _ in words] == ["QUARANTINE", "HOLD", "NO GO", "CANNOT ASSESS", "ASK AGAIN", "GO"]
    assert all(height >= 16 for _, height in words)


@pytest.mark.parametrize("path", ["/board", "/board/words", "/board/vessels/DENSE-2"])
def test_words_have_contrast(page, base, path):
    """WCAG 2.2 level AA: 4.5 to 1 for text, against the nearest background that is not clear."""
    log_in(page, base, "viewer", path)
    assert page.run(CONTRAST) == []
