"""A real Chromium without a window, driven over its own pipe: pages, keys, looks, and what a screen reader hears.

The protocol is the browser's own (DevTools): JSON messages that end with a zero byte, on file
descriptors 3 and 4, so that no port is opened.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
PROGRAM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
NEEDS_CHROMIUM = None if PROGRAM else "Chromium is not installed"
"""Why pages cannot be opened here; None when they can."""
_QUIET = (
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
)
_ON_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
for number, end in enumerate(ends, 3):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Gives the program its two pipes at the numbers where it looks for them."""


@dataclass
class Page:
    """One tab.  ``requests`` are the addresses that it asked for, ``complaints`` what its console said."""

    receive: Any
    send: Any
    session: str = ""
    requests: list[str] = field(default_factory=list[str])
    complaints: list[str] = field(default_factory=list[str])
    _last: int = 0
    _loaded: bool = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.send.write(json.dumps(message).encode() + b"\0")
        self.send.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        """The next message; events are taken note of."""
        data = bytearray()
        while (byte := self.receive.read(1)) != b"\0":
            assert byte, "the browser has gone"
            data += byte
        message = json.loads(data)
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(json.dumps(message["params"]))
            case "Page.loadEventFired":
                self._loaded = True
            case _:
                pass
        return message

    def open(self, path: Path, width: int = 1000, height: int = 900) -> None:
        """Show a file and wait until it is there."""
        self.visit(path.as_uri(), width, height)

    def visit(self, address: str, width: int = 1000, height: int = 900) -> None:
        """Show what is at an address and wait until it is there."""
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._next()

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def wish(self, **features: str) -> None:
        """Media features by name, e.g. ``prefers_color_scheme="dark"``."""
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=told)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """One key, down and up."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        codes = {"Enter": 13, "Tab": 9, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}
        facts = {"key": key, "text": text, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()))}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **facts)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def click(self, selector: str) -> None:
        """Press the middle of the first element that the selector names, with the mouse."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def until(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + DEADLINE_S
        while not self.run(script):
            assert time.monotonic() < end, script

    def heard(self) -> list[tuple[str, str]]:
        """What a screen reader finds, in order: (role, name)."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored") and "role" in node
        ]

    def seen(self) -> bytes:
        """What is to be seen of the whole page, as PNG."""
        return b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def printed(self) -> bytes:
        """The page as PDF, on A4 as the page itself asks."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return b64decode(answer["data"])


@contextmanager
def a_page(home: Path, lang: str = "en") -> Generator[Page]:
    """A tab of a browser of its own, with nothing in its profile; gone afterwards."""
    assert PROGRAM is not None
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    words = [PROGRAM, *_QUIET, f"--user-data-dir={home / 'profile'}", "--remote-debugging-pipe", f"--lang={lang}"]
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_3_AND_4, str(theirs_in), str(theirs_out), *words],
        pass_fds=(theirs_in, theirs_out),
        env={**os.environ, "HOME": str(home), "LANGUAGE": lang},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    with os.fdopen(ours_in, "rb") as receive, os.fdopen(ours_out, "wb") as send:
        try:
            browser = Page(receive, send)
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            yield browser
        finally:
            process.terminate()
            process.wait(DEADLINE_S)
