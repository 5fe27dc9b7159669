"""A real headless Chromium, spoken to over its own protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
EXECUTABLE = next((found for name in _NAMES if (found := shutil.which(name))), "")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip
START_S = 60.0


class Chromium:
    """One browser with one page.

    Attributes:
        errors: console errors, exceptions and refusals of the content security policy.
        requests: addresses that the page asked for.

    """

    def __init__(self, profile: Path) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._session: str | None = None
        self._profile = profile
        self._stack = ExitStack()

    def __enter__(self) -> Chromium:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def _start(self, stack: ExitStack) -> None:
        profile = self._profile
        process = subprocess.Popen(
            [EXECUTABLE, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
        self._socket = stack.enter_context(self._connected(profile / "DevToolsActivePort"))
        [page] = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"][:1]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _connected(self, reported: Path) -> ClientConnection:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            lines = reported.read_text().splitlines() if reported.exists() else []
            if len(lines) == 2:
                return connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}", max_size=None)
            time.sleep(0.1)
        raise TimeoutError("chromium did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and note what happens until the answer is there."""
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        self._socket.send(json.dumps(asked))
        while True:
            reported = self._received()
            if reported.get("id") == self._number:
                if "error" in reported:
                    raise RuntimeError(f"{method}: {reported['error']}")
                return cast("dict[str, Any]", reported["result"])

    def _received(self) -> dict[str, Any]:
        record = cast("dict[str, Any]", json.loads(self._socket.recv(60)))
        params = record.get("params", {})
        match record.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning"}:
                self.errors.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.errors.append(str(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case _:
                pass
        return record

    def open(self, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load a file and wait until it is there."""
        self.visit(path.resolve().as_uri(), width=width, height=height, dark=dark)

    def visit(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load an address and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        while self._received().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        reported = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in reported:
            raise RuntimeError(str(reported["exceptionDetails"]))
        return reported["result"].get("value")

    def press(self, key: str) -> None:
        """One key, down and up."""
        code = {"Tab": 9, "ArrowLeft": 37, "ArrowDown": 40, "Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))
