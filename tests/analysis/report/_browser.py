"""Headless Chromium by its DevTools protocol: what a page asks for, complains about, how wide it is, what it looks like."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Seen:
    """What a browser saw of a page at one width."""

    width: int = 0
    scroll_width: int = 0
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    text: str = ""
    screenshot: bytes = b""


class Browser:
    """One tab."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self._socket = connect(address, max_size=None, proxy=None)
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come before it are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)

    def look(self, page: Path, *, width: int, dark: bool = False) -> Seen:
        """Open a page in a window of so many CSS pixels."""
        self._events.clear()
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=812, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(json.loads(self._socket.recv(timeout=60)))
        seen = Seen(width)
        seen.scroll_width = self.evaluate("document.documentElement.scrollWidth")
        seen.text = self.evaluate("document.body.innerText")
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        seen.screenshot = base64.b64decode(shot["data"])
        for event in self._events:
            facts = event.get("params", {})
            if event["method"] == "Network.requestWillBeSent":
                seen.requests.append(facts["request"]["url"])
            elif event["method"] == "Log.entryAdded":
                seen.complaints.append(facts["entry"]["text"])
            elif event["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                seen.complaints.append(json.dumps(facts))
        return seen

    def evaluate(self, expression: str) -> Any:
        """Value of an expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in ``folder``; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--remote-debugging-port=0", "--disable-background-networking", "--disable-component-update"]
    process = subprocess.Popen(
        [CHROMIUM, *options, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr
        # It says where it listens; the tab has an address of its own.
        line = next((line for line in process.stderr if "DevTools listening on" in line), "")
        port = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert port, f"Chromium ended before it listened: {line}"
        tab = Browser(_tab(int(port[1])))
        try:
            yield tab
        finally:
            tab.close()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _tab(port: int) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
        pages = json.load(answer)
    return str(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
