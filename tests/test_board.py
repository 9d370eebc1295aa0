"""The vessel board as people get it: who sees what, nothing unescaped, no form from elsewhere, no file from outside."""

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from board_cases import (
    ORIGIN,
    PASSWORD,
    ROLES,
    VESSELS,
    Demo,
    Page,
    TestClient,
    board_rules,
    hidden,
    log_in,
    now,
    send,
    write_vessels,
)
from msc_vision.decision import parse_record
from msc_vision.service.board import words
from msc_vision.service.board.caches import Kept
from msc_vision.service.board.entrance import safe_next
from msc_vision.service.store.tables import audit, run_vessels, runs

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 97*89 }}"
PAGES = ("", "/records", "/rules", "/rules/site-a@1", "/words", "/password", "/vessels/DENSE-2", "/vessels/NEW-6")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run of `VESSELS`, scanned three hours ago."""
    scanned = now() - timedelta(hours=3)
    return write_vessels(tmp_path_factory.mktemp("images"), scanned), scanned


@pytest.fixture(scope="module")
def shared(tmp_path_factory, run):
    """A filled board that tests only look at."""
    return Demo(tmp_path_factory.mktemp("shared"), *run).fill()


@pytest.fixture
def demo(tmp_path, run):
    """A filled board that a test may change."""
    return Demo(tmp_path, *run).fill()


@pytest.fixture(scope="module")
def clients(shared):
    return {role: shared.client(role) for role in ROLES}


def card_of(html, name):
    """Return the words of a vessel's card."""
    cards = re.findall(r'<li class="card.*?</li>', html, re.S)
    return next(Page(one).text for one in cards if f">{name}</a>" in one)


# --- log in and out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_who_is_not_logged_in_sees_the_log_in_page_and_comes_back(shared, page):
    client = shared.client()
    answer = client.get(f"/board{page}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/board/login?next=%2Fboard")
    done = log_in(client, "viewer", wanted=f"/board{page}")
    assert done.headers["location"] == f"/board{page}"
    assert client.get(f"/board{page}").status_code == 200


def test_the_session_cookie_is_for_pages_of_this_site_only(shared):
    client = shared.client()
    cookie = next(one for one in log_in(client, "viewer").headers.get_list("set-cookie") if "board=" in one)
    assert {"HttpOnly", "SameSite=strict", "Path=/board"} <= {one.strip() for one in cookie.split(";")}
    assert "Secure" not in cookie  # plain loopback


def test_beyond_loopback_the_cookie_goes_over_tls_only(shared):
    with_tls = TestClient(shared.app, base_url="https://board.example", follow_redirects=False)
    page = with_tls.get("/board/login")
    fields = hidden(page.text) | {"username": "viewer", "password": PASSWORD, "next": ""}
    answer = with_tls.post("/board/login", data=fields)
    assert answer.status_code == 303
    assert all("Secure" in one for one in answer.headers.get_list("set-cookie") if "Max-Age=0" not in one)


def test_no_password_is_taken_over_plain_http_from_elsewhere(shared):
    client = TestClient(shared.app, base_url="http://board.example", follow_redirects=False)
    page = client.get("/board/login")
    assert "https" in Page(page.text).text
    assert 'name="password"' not in page.text
    assert client.post("/board/login", data={"username": "viewer", "password": PASSWORD}).status_code == 403


def test_a_wrong_password_is_told_without_telling_which_names_exist(shared):
    said = []
    for name in ("viewer", "nobody-of-this-name"):
        answer = log_in(shared.client(), name, "wrong")
        assert answer.status_code == 401
        said.append(Page(answer.text).text)
    assert said[0] == said[1]
    assert "Wrong name or password." in said[0]


def test_too_many_wrong_passwords_lock_out_for_a_while_in_friendly_words(demo):
    client = demo.client()
    answers = [log_in(client, "viewer", "wrong") for _ in range(6)]
    assert answers[-1].status_code == 429
    assert "Too many wrong passwords in a row. Wait" in Page(answers[-1].text).text
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert log_in(client, "viewer").status_code == 429, "the right one has to wait, too"


def test_after_logging_out_the_cookie_is_worth_nothing(demo):
    client = demo.client("viewer")
    kept = client.cookies["msc_vision_board"]
    assert send(client, "/board", "/board/logout").headers["location"] == "/board/login?done=out"
    client.cookies.set("msc_vision_board", kept, domain="127.0.0.1", path="/board")
    assert client.get("/board").status_code == 303


def test_a_new_password_ends_the_session_and_is_the_one_that_counts(demo):
    client = demo.client("viewer")
    new = "Plover-under-17-skies"
    refused = send(client, "/board/password", "/password", old_password=PASSWORD, new_password=new, again="other")
    assert "differ" in Page(refused.text).text
    done = send(client, "/board/password", "/password", old_password=PASSWORD, new_password=new, again=new)
    assert done.headers["location"] == "/board/login?done=changed"
    assert log_in(demo.client(), "viewer").status_code == 401
    assert log_in(demo.client(), "viewer", new).status_code == 303


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example",
        "//evil.example",
        "/board//evil.example",
        "/boardx",
        "/board/\\evil",
        "/v1/me",
        "",
        "/board/login?next=x",
    ],
)
def test_nobody_is_sent_elsewhere_after_logging_in(path):
    assert safe_next(path) == "/board"


# --- forms from elsewhere --------------------------------------------------------------------------------------------

FORMS = (
    "/board/logout",
    "/board/password",
    "/board/decide",
    "/records/{}/review",
    "/records/{}/sign",
    "/records/{}/replay",
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attack", ["no token", "token of another session", "another origin", "another site", "json"])
def test_a_form_from_elsewhere_does_nothing(shared, clients, form, attack):
    path = form if form.startswith("/board") else f"/board{form.format(shared.decided['DOUBT-4'])}"
    client = clients["approver"]
    fields = {
        "form_token": hidden(client.get("/board").text, "/board/logout")["form_token"],
        "password": PASSWORD,
        "meaning": "approval",
    }
    headers = {"Origin": ORIGIN}
    if attack == "no token":
        del fields["form_token"]
    if attack == "token of another session":
        fields["form_token"] = hidden(clients["reviewer"].get("/board").text, "/board/logout")["form_token"]
    if attack == "another origin":
        headers["Origin"] = "https://evil.example"
    if attack == "another site":
        headers["Sec-Fetch-Site"] = "cross-site"
    before = shared.service.store.head().seq
    answer = (
        client.post(path, json=fields, headers=headers)
        if attack == "json"
        else client.post(path, data=fields, headers=headers)
    )
    assert answer.status_code in (403, 415)
    assert client.get("/board").status_code == 200, "still logged in"
    written = [one for one in logged_since(shared, before) if not one["what"].startswith("refused")]
    assert written == []


def logged_since(demo, seq):
    """Return what was logged after an entry; refusals are noted behind the answer, but in order."""
    demo.service.store.write(lambda tx: None).result()
    query = audit.select().where(audit.c.seq > seq)
    return [dict(row) for row in demo.service.store.read(lambda connection: connection.execute(query).mappings().all())]


# --- who sees and does what ------------------------------------------------------------------------------------------

MAY = {
    "decide": {"operator", "reviewer", "approver"},
    "review": {"reviewer", "approver"},
    "sign": {"approver"},  # the last signature, here the only one
    "audit": {"admin"},
}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_its_own_forms(shared, clients, role):
    client = clients[role]
    record = client.get(f"/board/records/{shared.decided['DOUBT-4']}").text
    assert ("/review#review" in record) == (role in MAY["review"])
    assert ("/sign#sign" in record) == (role in MAY["sign"])
    assert ('action="/board/decide"' in client.get("/board/vessels/NEW-6").text) == (role in MAY["decide"])
    assert ('href="/board/audit"' in record) == (role in MAY["audit"])
    assert (client.get("/board/audit").status_code == 200) == (role in MAY["audit"])


@pytest.mark.parametrize(
    ("role", "what"),
    [(role, what) for what in ("decide", "review", "sign") for role in ROLES if role not in MAY[what] | {"reviewer"}],
)
def test_a_form_sent_without_the_role_is_refused_and_noted(demo, role, what):
    client = demo.client(role)
    decision_id = demo.decided["DOUBT-4"]
    record = json.loads(client.get(f"/board/records/{decision_id}/document").text)
    fields = {
        "form_token": hidden(client.get("/board").text, "/board/logout")["form_token"],
        "vessel_id": "NEW-6",
        "rule_set": "site-a@1",
        "action": "hold",
        "reason_code": "other",
        "reason": "x",
        "password": PASSWORD,
        "meaning": "approval",
        "record_sha256": record["record_sha256"],
    }
    before = demo.service.store.head().seq
    path = "/board/decide" if what == "decide" else f"/board/records/{decision_id}/{what}"
    assert client.post(path, data=fields, headers={"Origin": ORIGIN}).status_code == 403
    written = logged_since(demo, before)
    assert [one["who"] for one in written] == [f"person:{role}"]
    assert written[0]["what"].startswith("refused")


# --- vessels ---------------------------------------------------------------------------------------------------------


def test_vessels_that_need_somebody_stand_first(clients):
    html = clients["viewer"].get("/board").text
    assert re.findall(r'<h2><a href="/board/vessels/([^"]+)"', html) == [
        "SPOTS-3", "DOUBT-4", "DENSE-2", "BLIND-5", "NEW-6", "READY-1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "word", "said"),
    [
        ("READY-1", "GO", "not signed"),
        ("DENSE-2", "NO GO", "Confluency on layer 2 97 % (95-99); allowed at most 90 %."),
        ("SPOTS-3", "QUARANTINE", "suspect is a sign to confirm or refute"),
        ("DOUBT-4", "HOLD", "A person has to look: two methods disagree on 3 of 4 fields."),
        ("BLIND-5", "CANNOT ASSESS", "Confluency 80 % (50-100); allowed 70 to 90 %."),
        ("NEW-6", "ASK AGAIN", "Nobody has asked for a decision on this vessel yet."),
    ],
)
def test_each_vessel_has_its_verdict_by_word_and_shape(clients, name, word, said):
    html = clients["viewer"].get("/board").text
    assert card_of(html, name).startswith(f"{word} ")
    assert said in card_of(html, name)
    shapes = dict(re.findall(r'<li class="card ([a-z-]+)">.*?<span class="word">([^<]+)</span>', html, re.S))
    assert shapes[{sign.word: sign.shape for sign in words.SIGNS}[word]] == word
    drawings = re.findall(r'<svg class="shape ([a-z-]+)"[^>]*>(.*?)</svg>', html, re.S)
    assert len({drawing for _, drawing in drawings}) == len(words.SIGNS), "no two verdicts share a drawing"


def test_the_age_of_the_scan_is_in_words_and_with_its_zone(clients):
    assert re.search(
        r"Scanned 3 h ago , \d+ \w+ 2\d{3}, \d\d:\d\d UTC", card_of(clients["viewer"].get("/board").text, "READY-1")
    )


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("verdict=hold", {"DOUBT-4"}),
        ("text=layer+2", {"DENSE-2", "DOUBT-4"}),
        ("text=ready", {"READY-1"}),
        ("batch=L7, passage 4", set(VESSELS)),
        ("batch=L8", set()),
        ("text=%3Cscript%3E", set()),
    ],
)
def test_filters_need_no_script(clients, query, names):
    html = clients["viewer"].get(f"/board?{query}").text
    assert set(re.findall(r'<h2><a href="/board/vessels/([^"]+)"', html)) == names
    assert names or "No vessel fits this filter." in html


def test_a_go_whose_scan_grew_too_old_is_no_go_any_more(shared):
    """It reads ASK AGAIN: nobody harvests by a record that time has overtaken."""
    later = replace(shared.service, clock=lambda: datetime.now(UTC) + timedelta(hours=13))
    shared.app.state.service, kept = later, shared.service
    try:
        card = card_of(shared.client("viewer").get("/board").text, "READY-1")
    finally:
        shared.app.state.service = kept
    assert card.startswith("ASK AGAIN READY-1")
    assert "It was GO; its scan was good for a decision until" in card


def test_a_go_that_a_newer_scan_overtook_is_no_go_any_more(demo, tmp_path):
    newer = write_vessels(tmp_path / "newer", demo.scanned + timedelta(hours=2))
    demo.service = replace(demo.service, settings=demo.settings.model_copy(update={"roots": (tmp_path,)}))
    demo.run_folder = newer
    demo.register()
    html = demo.client("viewer").get("/board").text
    assert card_of(html, "READY-1").startswith("ASK AGAIN")
    assert "nobody has judged" in card_of(html, "READY-1")
    assert card_of(html, "DENSE-2").startswith("NO GO"), "what is not GO stays so"
    assert "74 % to 74 % in 2 h" in card_of(html, "READY-1")


def test_a_trial_is_never_shown_as_go(demo):
    name = demo.add_rules(board_rules(id="draft-a", status="draft", approval=None))
    demo.service = replace(demo.service, settings=demo.settings.model_copy(update={"purpose": "trial"}))
    decision_id = demo.decide("READY-1", name)
    client = demo.client("approver")
    assert card_of(client.get("/board").text, "READY-1").startswith("GO IN TRIAL")
    text = Page(client.get(f"/board/records/{decision_id}").text).text
    assert "Draft rules or a trial: not for production." in text
    assert "It was made with a draft rule set; only records of approved ones are signed." in text
    assert Page(client.get("/board/records").text).text.count("GO IN TRIAL") == 1


def test_old_vessels_are_left_out_until_asked_for(shared):
    later = replace(shared.service, clock=lambda: datetime.now(UTC) + timedelta(days=20))
    shared.app.state.service, kept = later, shared.service
    try:
        client = shared.client("viewer")
        few, everything = client.get("/board").text, client.get("/board?days=all").text
    finally:
        shared.app.state.service = kept
    assert "6 vessels without a scan in the last 14 days are left out" in Page(few).text
    assert everything.count('<li class="card') == 6


def test_an_empty_board_says_what_to_do(tmp_path, run):
    html = Demo(tmp_path, *run).client("viewer").get("/board").text
    assert "No run yet" in html
    assert "msc-vision run FOLDER" in Page(html).text
    assert "Ask for a decision" in Page(html).text


# --- one vessel ------------------------------------------------------------------------------------------------------


def test_the_page_of_a_vessel_says_why_and_what_would_change_it(clients):
    text = Page(clients["viewer"].get("/board/vessels/DENSE-2").text).text
    assert "Confluency on layer 2 97 % (95-99); allowed at most 90 %." in text
    assert "layer-overgrown on layer 2: a lower figure in a later scan." in text
    for criterion in ("confluency-window", "contamination", "scan-age", "identity", "run-usable"):
        assert criterion in text, "passed ones too"


def test_the_layers_stand_as_in_the_incubator(clients):
    html = clients["viewer"].get("/board/vessels/DENSE-2").text
    assert re.findall(r'<th scope="row">([^<]+)</th>', html) == ["2", "1"]
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', html, re.S)
    assert "not met" in Page(rows[0]).text
    assert "layer-overgrown" in Page(rows[0]).text
    assert Page(rows[1]).text.endswith("met")
    assert "seen 4 fields" in Page(rows[0]).text


def test_the_images_that_drove_the_verdict_have_words_and_lead_to_the_large_one(clients):
    client = clients["viewer"]
    html = client.get("/board/vessels/DENSE-2").text
    images = [known for tag, known in Page(html).tags if tag == "img"]
    assert images
    assert images[0]["alt"].startswith("Phase-contrast image")
    assert "Layer 2, highest" in html
    small = client.get(images[0]["src"])
    assert small.headers["content-type"] == "image/jpeg"
    assert small.content.startswith(b"\xff\xd8")
    link = next(one for one in Page(html).links if "/fields/" in one)
    large = next(known for tag, known in Page(client.get(link).text).tags if tag == "img")
    assert client.get(large["src"]).content.startswith(b"\xff\xd8")
    bare = client.get(large["src"] + "&outlines=no")
    assert bare.content != client.get(large["src"]).content


def test_what_happened_to_a_vessel_is_listed(demo):
    client = demo.client("approver")
    sign(demo, client, "READY-1")
    text = Page(client.get("/board/vessels/READY-1").text).text
    for word in ("signature Approver Person: approval approver", "decision GO: Harvest operator", "scan Images of"):
        assert word in text


def test_a_run_that_is_gone_leaves_the_record_readable(demo, run):
    demo.service = replace(demo.service, settings=demo.settings.model_copy(update={"roots": ()}))
    demo.app.state.service = demo.service
    answer = demo.client("viewer").get("/board/vessels/DENSE-2")
    assert answer.status_code == 200
    text = Page(answer.text).text
    assert "The run folder cannot be read now" in text
    assert "NO GO" in text


# --- pictures: nothing from outside ----------------------------------------------------------------------------------


def test_pictures_come_from_registered_runs_only(clients):
    for path in ("nothing/pictures/key", "..%2F..%2Fetc/pictures/passwd", "nothing/fields/key"):
        assert clients["viewer"].get(f"/board/runs/{path}").status_code in (400, 404)


def test_a_picture_of_an_unknown_field_is_not_there(shared, clients):
    link = next(one for one in Page(clients["viewer"].get("/board/vessels/DENSE-2").text).links if "/pictures/" in one)
    folder = link.rpartition("/")[0]
    for key in ("x", "..%2Frun.json", "%2Fetc%2Fpasswd"):
        assert clients["viewer"].get(f"{folder}/{key}").status_code in (400, 404)


def test_images_outside_the_opened_folders_are_refused_and_noted(demo, run, tmp_path):
    """The run lies inside, its images do not: an uploaded run may say that its images lie anywhere."""
    folder, _ = run
    inside = tmp_path / "inside"
    shutil.copytree(folder, inside / "RUN")
    client = demo.client("viewer")
    link = next(one for one in Page(client.get("/board/vessels/DENSE-2").text).links if "/pictures/" in one)
    settings = demo.settings.model_copy(update={"roots": (inside,)})
    demo.app.state.service = replace(demo.service, settings=settings)
    move_run(demo, inside / "RUN")
    before = demo.service.store.head().seq
    assert client.get(link).status_code == 403
    assert [one["what"] for one in logged_since(demo, before)] == ["refused: outside-roots"]


def move_run(demo, place):
    """Say that the only run lies elsewhere."""
    run_id = demo.service.store.read(lambda connection: connection.execute(runs.select()).first().run_id)
    change = {"path": str(place)}
    demo.service.store.write(lambda tx: tx.update(runs, run_id, change, who="test", what="move run")).result()


# --- records: read, review, sign -------------------------------------------------------------------------------------


def sign(demo, client, name, password=PASSWORD, meaning="approval"):
    page = f"/board/records/{demo.decided[name]}"
    return send(client, page, "/sign", password=password, meaning=meaning)


def test_a_signature_shows_name_time_zone_and_meaning(demo):
    client = demo.client("approver")
    page = f"/board/records/{demo.decided['READY-1']}"
    assert "You sign the verdict GO (harvest) for READY-1 , record" in Page(client.get(page).text).text
    assert "Approver Person (approver)" in Page(client.get(page).text).text
    answer = sign(demo, client, "READY-1")
    assert answer.status_code == 303
    text = Page(client.get(answer.headers["location"]).text).text
    assert re.search(r"Approver Person \(approver\) 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC Meaning: approval", text)
    assert "Your signature was written down." in text
    assert "It has all its signatures." in text
    assert "signed" in card_of(client.get("/board").text, "READY-1")
    assert "not signed" not in card_of(client.get("/board").text, "READY-1")


def test_who_signs_reads_the_verdict_of_the_record_not_only_the_boards_word(clients, shared):
    text = Page(clients["approver"].get(f"/board/records/{shared.decided['SPOTS-3']}").text).text
    assert "QUARANTINE" in text
    assert "You sign the verdict HOLD REVIEW (quarantine) for SPOTS-3" in text


def test_the_board_looks_the_same_on_postgresql(tmp_path, run, postgresql_url):
    demo = Demo(tmp_path, *run, url=postgresql_url, is_made=True).fill()
    client = demo.client("approver")
    assert sign(demo, client, "READY-1").status_code == 303
    html = client.get("/board").text
    assert re.findall(r'<h2><a href="/board/vessels/([^"]+)"', html)[0] == "SPOTS-3"
    assert card_of(html, "READY-1").startswith("GO signed")
    for page in ("/vessels/READY-1", "/records", f"/records/{demo.decided['READY-1']}"):
        assert client.get(f"/board{page}").status_code == 200
    demo.service.store.close()


def test_nothing_is_signed_with_a_wrong_password(demo):
    client = demo.client("approver")
    answer = sign(demo, client, "READY-1", password="wrong")
    assert answer.status_code == 403
    assert "Wrong password; nothing was signed." in Page(answer.text).text
    assert "wrong" not in re.findall(r'value="([^"]*)"', answer.text), "a password is never shown again"
    assert "0 of 1 signature" in Page(client.get(f"/board/records/{demo.decided['READY-1']}").text).text


def test_two_people_sign_where_two_have_to(tmp_path, run):
    demo = Demo(tmp_path, *run, n_signatures=2).fill()
    reviewer, approver = demo.client("reviewer"), demo.client("approver")
    assert sign(demo, reviewer, "READY-1", meaning="review").status_code == 303
    page = f"/board/records/{demo.decided['READY-1']}"
    assert "the second signature is another person's" in Page(reviewer.get(page).text).text
    assert "1 of 2 signatures" in card_of(reviewer.get("/board").text, "READY-1")
    assert sign(demo, approver, "READY-1").status_code == 303
    assert "2 of 2 signatures" in Page(approver.get(page).text).text


def test_a_review_settles_a_doubt_and_supersedes(demo):
    client = demo.client("reviewer")
    page = f"/board/records/{demo.decided['DOUBT-4']}"
    settled = {"settle:layer-overgrown:2": "met", "reason_code": "optics", "reason": f"Looked at again. {HOSTILE}"}
    answer = send(client, page, "/review", action="settle", **settled)
    assert answer.status_code == 303
    later = client.get(answer.headers["location"]).text
    assert "Your review was written down" in later
    assert "layer-overgrown on layer 2: met" in Page(later).text
    assert HOSTILE in Page(later).text, "escaped, and read as it was written"
    assert "<img src=x" not in later
    old = Page(client.get(page).text).text
    assert "This record was superseded" in old
    assert "It was superseded: sign the record that replaced it." in old
    assert card_of(client.get("/board").text, "DOUBT-4").startswith("GO")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": "settle", "reason": "x"}, "Answer at least one of the doubts"),
        ({"action": "hold", "reason": ""}, "Give your reason"),
        ({"action": "", "reason": "x"}, "Say what you want"),
        (
            {"action": "hold", "reason": "kept", "settle:layer-overgrown:2": "met"},
            "You answered doubts but chose to hold",
        ),
    ],
)
def test_a_review_that_is_not_clear_is_asked_for_again_and_keeps_what_was_written(shared, clients, fields, said):
    page = f"/board/records/{shared.decided['DOUBT-4']}"
    answer = send(clients["reviewer"], page, "/review", **{"reason_code": "optics"} | fields)
    assert answer.status_code == 422
    assert said in Page(answer.text).text
    assert fields["reason"] in answer.text
    assert '<option value="optics" selected>' in answer.text


def test_no_review_makes_up_for_what_is_not_met(demo):
    client = demo.client("reviewer")
    html = client.get(f"/board/records/{demo.decided['DENSE-2']}").text
    assert "nothing here asks for a person" in Page(html).text
    token = hidden(html)["form_token"]
    fields = {
        "form_token": token,
        "action": "settle",
        "reason_code": "other",
        "reason": "x",
        "settle:layer-overgrown:2": "met",
    }
    answer = client.post(f"/board/records/{demo.decided['DENSE-2']}/review", data=fields, headers={"Origin": ORIGIN})
    assert answer.status_code == 422
    assert card_of(client.get("/board").text, "DENSE-2").startswith("NO GO")


def test_somebody_who_may_decide_asks_and_is_led_to_the_record(demo):
    client = demo.client("operator")
    answer = send(client, "/board/vessels/NEW-6", "/board/decide", rule_set="site-a@1")
    assert answer.status_code == 303
    assert "The decision was made" in client.get(answer.headers["location"]).text
    unknown = send(client, "/board/vessels/NEW-6", "/board/decide", rule_set="no-such-set")
    assert unknown.status_code == 404
    assert "No rule set is called" in Page(unknown.text).text


def test_a_record_is_judged_again_on_request(shared, clients):
    """The evidence of these tests is written down, not read from the run: so the replay has to find that it differs."""
    page = f"/board/records/{shared.decided['READY-1']}"
    answer = send(clients["viewer"], page, "/replay")
    assert answer.status_code == 200
    assert "It does not hold any more" in Page(answer.text).text


def test_the_document_is_the_record_itself(shared, clients):
    answer = clients["viewer"].get(f"/board/records/{shared.decided['READY-1']}/document")
    assert answer.headers["content-type"] == "application/json"
    assert parse_record(answer.content)["decision_id"] == shared.decided["READY-1"]


def test_long_lists_have_pages(demo):
    for _ in range(52):
        demo.service.store.write(lambda tx: tx.note(who="test", what="fill the log")).result()
    client = demo.client("admin")
    first = client.get("/board/audit?what=fill+the+log").text
    link = re.search(r'href="(/board/audit\?[^"]+)" rel="next"', first)[1].replace("&amp;", "&")
    second = client.get(link).text
    numbers = [set(re.findall(r'<td class="n">(\d+)</td>', html)) for html in (first, second)]
    assert [len(one) for one in numbers] == [50, 2]
    assert not numbers[0] & numbers[1]


def test_the_audit_log_verifies_itself_on_request(shared, clients):
    assert "Log and rows are as they were written." in Page(clients["admin"].get("/board/audit?check=yes").text).text


def test_placeholders_of_a_rule_set_are_marked(demo):
    demo.add_rules(board_rules(id="draft-a", status="draft", approval=None))
    text = Page(demo.client("viewer").get("/board/rules/draft-a@1").text).text
    assert "1 of 4 limits are placeholders" in text
    assert "70 to 90 %" in text
    assert "in force 2026-01-01" in text


# --- every page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, "/audit", "/nothing", "/records/" + "0" * 32, "/vessels/NOBODY"])
def test_every_page_keeps_a_strict_policy_and_needs_nothing_from_elsewhere(clients, path):
    answer = clients["admin"].get(f"/board{path}")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    page = Page(answer.text)
    assert page.inline == []
    assert [one for one in page.links if not one.startswith(("/board", "#", "?"))] == []
    assert len(page.ids) == len(set(page.ids))
    labelled = {known.get("for") for tag, known in page.tags if tag == "label"}
    shown = [k for tag, k in page.tags if tag in ("input", "select", "textarea")]
    unnamed = [k for k in shown if k.get("type") not in ("hidden", "radio", "checkbox") and k.get("id") not in labelled]
    assert unnamed == []
    assert all("alt" in known for tag, known in page.tags if tag == "img")
    assert not re.search(r"\b(released?|safe|sterile|compliant|GMP-ready)\b", page.text, re.I)


@pytest.mark.parametrize("path", ["", "/records", "/audit"])
def test_what_people_type_is_shown_as_they_typed_it(clients, path):
    for name in ("text", "batch", "verdict", "vessel", "who", "what", "target_id", "next", "done", "cursor"):
        answer = clients["admin"].get(f"/board{path}", params={name: HOSTILE})
        assert answer.status_code in (200, 422)
        assert "<img" not in answer.text
        assert "{{ 97*89 }}" in answer.text or HOSTILE[:4] not in answer.text
        assert "8633" not in answer.text


def test_names_of_vessels_and_people_are_escaped(tmp_path, run):
    demo = Demo(tmp_path, *run)
    demo.register()
    stored = demo.service.store.read(
        lambda connection: dict(connection.execute(run_vessels.select()).mappings().first())
    )
    row = {**stored, "vessel_id": f"{HOSTILE}/x", "batch": HOSTILE, "vessel_type": HOSTILE}
    demo.service.store.write(lambda tx: tx.insert(run_vessels, row, who="test", what="register run")).result()
    client = demo.client("approver")
    html = client.get("/board").text
    assert "<img" not in html
    assert HOSTILE in Page(html).text
    link = next(one for one in Page(html).links if "onerror" in one)
    answer = client.get(link)
    assert answer.status_code == 200
    assert "<img src=x" not in answer.text


def test_the_boards_own_files_are_there_and_nothing_beside_them(clients):
    assert clients["viewer"].get("/board/static/board.css").headers["content-type"].startswith("text/css")
    assert clients["viewer"].get("/board/static/board.js").headers["content-type"].startswith("text/javascript")
    for name in ("routes.py", "..%2Froutes.py", "%2e%2e/routes.py"):
        assert clients["viewer"].get(f"/board/static/{name}").status_code in (303, 400, 404)


# --- words -----------------------------------------------------------------------------------------------------------

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(minutes=59), "59 min ago"),
        (timedelta(minutes=130), "2 h ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(hours=-2), "in the future: check the clocks"),
    ],
)
def test_ages_are_said_as_people_say_them(passed, said):
    assert words.age((AT - passed).isoformat(), AT) == said


def test_a_time_without_zone_is_not_taken_for_one():
    assert words.age("2026-11-22T12:00:00", AT) == "time not known"
    assert words.clock("2026-11-22T12:00:00") == "–"


def test_zones_are_named():
    assert words.zone(AT) == "UTC"
    assert words.zone(AT.astimezone(timezone(timedelta(hours=-3, minutes=-30)))) == "UTC-03:30"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("harvest", "Harvest"),
        ("image 9 more fields on layer 3", "Image 9 more fields on layer 3"),
        ("image 9 more fields on each of layers 1-4, 7", "Image 9 more fields on each of layers 1-4, 7"),
        ("wait until 2026-11-23T08:00:00Z", "Wait until 23 Nov 2026, 08:00 UTC"),
    ],
)
def test_actions_are_said_plainly(action, said):
    assert words.plain_action(action) == said


@hypothesis_settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), max_size=40))
def test_what_is_kept_never_weighs_more_than_it_may(asked):
    kept = Kept(50, lambda value: value)
    for key, weight in asked:
        kept.put(key, weight)
        assert sum(kept._values.values()) == kept._weight <= 50
