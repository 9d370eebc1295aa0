"""A headless Chromium for tests, driven over its DevTools protocol, and a server that runs an application for it.

Chromium is Debian's package. Where it is not installed these tests are skipped, except in CI, where they fail.
"""

import base64
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " "), "ArrowDown": (40, "")}


def chromium():
    """Return the browser's program; the test is skipped where there is none, but fails in CI."""
    found = shutil.which("chromium")
    if found is None and os.environ.get("CI"):
        pytest.fail("Chromium is not installed, and this is CI: apt-get install chromium")
    if found is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    return found


class Browser:
    """One page of a browser. ``faults``: errors of the console; ``requests``: every address that was asked for."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers, self._loaded = {}, 0
        self._gate = threading.Condition()
        self.faults, self.requests = [], []
        threading.Thread(target=self._listen, daemon=True).start()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _listen(self):
        try:
            for text in self._socket:
                self._take(json.loads(text))
        except ConnectionClosed:
            return

    def _take(self, message):
        method, params = message.get("method"), message.get("params", {})
        with self._gate:
            if "id" in message:
                self._answers[message["id"]] = message
            elif method == "Page.loadEventFired":
                self._loaded += 1
            elif method == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                self.faults.append(params["exceptionDetails"]["text"])
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                self.faults.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
                self.faults.append(str(params["args"]))
            self._gate.notify_all()

    def call(self, method, **params):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        with self._gate:
            assert self._gate.wait_for(lambda: number in self._answers, 20), f"{method}: no answer"
            answer = self._answers.pop(number)
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script):
        """Return what a script in the page comes to."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script, seconds=10):
        """Wait until a script in the page is true: the browser does some things only after a page was loaded."""
        for _ in range(seconds * 20):
            if self.run(script):
                return
            time.sleep(0.05)
        raise AssertionError(f"{script} stayed false for {seconds} s")

    @contextmanager
    def loading(self):
        """Wait for the page that the block leads to."""
        before = self._loaded
        yield
        with self._gate:
            assert self._gate.wait_for(lambda: self._loaded > before, 20), "no page was loaded"

    def go(self, url):
        with self.loading():
            self.call("Page.navigate", url=url)

    def press(self, key, times=1):
        code, text = KEYS[key]
        name = " " if key == "Space" else key
        event = {"key": name, "code": key, "windowsVirtualKeyCode": code}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text):
        self.call("Input.insertText", text=text)

    def size(self, width, height=1000, scale=1.0):
        """Set the window; a scale of 2 is what a browser does at 200 %: half the room for the page."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=round(width / scale), height=round(height / scale), deviceScaleFactor=scale, mobile=False,
        )  # fmt: skip

    def tab_to(self, script, most=80):
        """Press Tab until a script about the focused element ``e`` is true; return the elements that were passed."""
        passed = []
        for _ in range(most):
            self.press("Tab")
            passed.append(self.focus())
            if self.run(f"(e => {script})(document.activeElement)"):
                return passed
        raise AssertionError(f"{script} was never focused: {passed}")

    def focus(self):
        """Return what has the focus, and whether one sees it."""
        return self.run(
            """(() => { const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
            return {tag: e.tagName, text: (e.innerText || e.name || '').slice(0, 40),
            seen: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && r.width > 0 && r.height > 0} })()"""
        )

    def screenshot(self, path, *, whole=True):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, whole):
        if not whole:
            return {}
        content = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": content["width"], "height": content["height"], "scale": 1}}


@contextmanager
def started_browser():
    """Start Chromium with an empty profile and open a page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_page_url(Path(profile) / "DevToolsActivePort", process), max_size=None) as talk:
                yield Browser(talk)
        finally:
            process.terminate()
            process.wait(20)


def _page_url(path, process):
    for _ in range(300):
        assert process.poll() is None, "Chromium ended by itself"
        if path.is_file() and path.read_text().count("\n"):
            port = path.read_text().split("\n")[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [one for one in json.load(answer) if one["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.1)
    raise AssertionError("Chromium did not start within 30 s")


@contextmanager
def served(app):
    """Run an application at a free port of this machine, and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
