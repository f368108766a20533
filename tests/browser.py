"""Chromium for tests, by the DevTools protocol over a pipe: no driver, no port, no network.

https://chromedevtools.github.io/devtools-protocol/; --remote-debugging-pipe reads commands
from descriptor 3 and writes answers to 4, each ended by a NUL.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_LIMIT = 60.0


class Browser:
    """One page. ``said``: what it logged as an error; ``asked``: every URL it asked for."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._left = b""
        self._number = 0
        self._session: str | None = None
        self.said: list[str] = []
        self.asked: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._number:
                assert "error" not in got, got["error"]
                result: dict[str, Any] = got["result"]
                return result
            self._heard(got)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _LIMIT
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._back], [], [], max(0, deadline - time.monotonic()))
            assert ready, "chromium does not answer"
            data = os.read(self._back, 1 << 20)
            assert data, "chromium ended"
            self._left += data
        line, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _heard(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"])[:600])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.said.append(json.dumps(params["args"])[:600])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.said.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path, width: int = 1280, height: int = 900, fragment: str = "") -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._go("about:blank")
        self.asked.clear()
        self.said.clear()
        self._go(path.as_uri() + (f"#{fragment}" if fragment else ""))

    def _go(self, url: str) -> None:
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._heard(self._next())

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        got = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def scheme(self, name: str) -> None:
        """``light`` or ``dark``, as the system says."""
        self.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}]
        )

    def key(self, name: str) -> None:
        codes = {"ArrowDown": 40, "ArrowUp": 38, "Tab": 9, "Enter": 13, "Escape": 27, "End": 35}
        for kind in ("keyDown", "keyUp"):
            extra = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=codes[name],
                **extra,
            )

    def picture(self, path: Path, whole: bool = False) -> None:
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def printed(self, path: Path) -> None:
        data = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.7)
        path.write_bytes(base64.b64decode(data["data"]))


def program() -> str:
    """Chromium's path; skips where a user has none, fails where CI has none."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        message = "no Chromium here: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@contextmanager
def chromium(profile: Path, dark: bool = False) -> Iterator[Browser]:
    """A headless browser with a new profile."""
    name = program()
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()

    script = f'exec 3<&{in_read} 4>&{out_write}; exec "$@"'
    argv = [
        "bash",
        "-c",
        script,
        "chromium",
        name,
        "--headless=new",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--disable-gpu",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--mute-audio",
        *(["--force-dark-mode"] if dark else []),
        "about:blank",
    ]
    process = subprocess.Popen(
        argv,
        pass_fds=(in_read, out_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(in_read)
    os.close(out_write)
    try:
        yield Browser(in_write, out_read)
    finally:
        os.close(in_write)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(out_read)
