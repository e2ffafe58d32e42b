"""A headless Chromium, driven over its DevTools protocol: what a page looks like, what it runs, what it asks for.

    with Chromium() as browser:
        page = browser.open("file:///…/report.html", width=390, dark=True)
        page.screenshot(Path("phone.png"))
        page.requests           # every URL it asked for

`apt-get install --no-install-recommends chromium`, or any Chrome on the PATH. Tests that need it are marked `chromium` and skipped without.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

BINARY = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


@dataclass
class Page:
    """An open page and all that happened in it."""

    browser: "Chromium"
    session: str
    requests: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def screenshot(self, path: Path) -> Path:
        """The whole page, from top to bottom, as PNG."""
        size = self.browser.call("Page.getLayoutMetrics", self)["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 40_000), "scale": 1}
        shot = self.browser.call("Page.captureScreenshot", self, captureBeyondViewport=True, clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def width(self) -> float:
        """Width of the content in CSS pixels; more than the window's means that it scrolls sideways."""
        return float(self.browser.call("Page.getLayoutMetrics", self)["cssContentSize"]["width"])


class Chromium:
    """A browser process with a profile of its own."""

    def __enter__(self) -> "Chromium":
        assert BINARY, "no Chromium on the PATH"
        self._profile = tempfile.mkdtemp()
        self._process = subprocess.Popen([BINARY, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"], stderr=subprocess.DEVNULL)
        port_file, deadline = Path(self._profile) / "DevToolsActivePort", time.monotonic() + 60
        while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.05)
        port, path = port_file.read_text().splitlines()
        self._socket: ClientConnection = connect(f"ws://127.0.0.1:{port}{path}", max_size=1 << 28, proxy=None)
        self._number = 0
        self._pages: dict[str, Page] = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, url: str, width: int = 1280, dark: bool = False, settle: float = 0.5) -> Page:
        """Load a page in a window of `width` CSS pixels and wait until it has been quiet for `settle` seconds."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Network", "Runtime", "Log", "Debugger", "Security"):
            self.call(f"{domain}.enable", page)
        self.call("Emulation.setDeviceMetricsOverride", page, width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", page, features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", page, url=url)
        deadline = time.monotonic() + 60
        while not any(event["method"] == "Page.loadEventFired" for event in page.events) and time.monotonic() < deadline:
            self._receive(0.2)
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < settle and time.monotonic() < deadline:
            if self._receive(0.1) is not None:
                quiet_since = time.monotonic()
        return page

    def call(self, method: str, page: Page | None = None, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": page.session} if page else {})
        self._socket.send(json.dumps(message))
        while True:
            answer = self._receive(60)
            assert answer is not None, f"no answer to {method}"
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        try:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=timeout))
        except TimeoutError:
            return None
        page = self._pages.get(message.get("sessionId", ""))
        if page and "method" in message:
            page.events.append(message)
            if message["method"] == "Network.requestWillBeSent":
                page.requests.append(message["params"]["request"]["url"])
        return message
