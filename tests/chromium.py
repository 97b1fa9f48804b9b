"""A real Chromium without a window, told what to do by its own protocol over two pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_TIMEOUT = 60.0
_OPTIONS = (
    "--headless",
    # Inside a container there are no rights to make a sandbox, and the pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
# The protocol is spoken on the descriptors 3 and 4.
_LAUNCH = """
import os, sys
to_read, to_write, *command = sys.argv[1:]
os.dup2(int(to_read), 3)
os.dup2(int(to_write), 4)
os.execv(command[0], command)
"""
# Key: code, number, text.
_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
    "PageDown": ("PageDown", 34, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
SHIFT = 8


class _Pipes:
    """Messages to and from the program: JSON, each with a zero byte at its end."""

    def __init__(self, to_program: int, from_program: int) -> None:
        self._to, self._from = to_program, from_program
        self._held = b""
        self._number = 0

    def send(self, message: Mapping[str, Any]) -> int:
        self._number += 1
        left = json.dumps({"id": self._number, **message}).encode() + b"\0"
        while left:
            left = left[os.write(self._to, left) :]
        return self._number

    def receive(self, seconds: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + seconds
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            read = os.read(self._from, 1 << 20)
            if not read:
                msg = "Chromium has ended"
                raise ConnectionError(msg)
            self._held += read
        text, _, self._held = self._held.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


@dataclass
class Page:
    """One open page: what it logged, what it asked the network for, and hands to use it with."""

    pipes: _Pipes
    session: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        sent = {"sessionId": self.session, "method": method, "params": parameters}
        number = self.pipes.send(sent)
        while True:
            message = self.pipes.receive(_TIMEOUT)
            if message is None:
                msg = f"{method}: no answer"
                raise TimeoutError(msg)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(message["error"]["message"])
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: Mapping[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(str(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(told["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def open(self, path: Path) -> None:
        self.complaints.clear()
        self.requests.clear()
        # Of the same document only the fragment would change.
        self.command("Page.navigate", url="about:blank")
        self.command("Page.navigate", url=path.as_uri())
        self.wait_for("location.protocol === 'file:' && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        answer = self.command(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                msg = f"{condition} did not come true"
                raise TimeoutError(msg)
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)"
        )
        return found

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Return left, top, width and height of an element, which is scrolled into view."""
        left, top, width, height = self.evaluate(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{ block: "center", behavior: "instant" }});
                const box = element.getBoundingClientRect();
                return [box.left, box.top, box.width, box.height];
            }})()"""
        )
        return left, top, width, height

    def click(self, selector: str) -> None:
        left, top, width, height = self.box(selector)
        place = (left + width / 2, top + height / 2)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, *place)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        pressed = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
        self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed, **more)

    def type(self, text: str) -> None:
        self.command("Input.insertText", text=text)

    def press(self, *keys: str, modifiers: int = 0) -> None:
        for key in keys:
            code, number, text = _KEYS.get(key, ("", ord(key[0].upper()), key))
            pressed = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            pressed |= {"modifiers": modifiers}
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.command("Input.dispatchKeyEvent", **pressed, **down)
            self.command("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def choose(self, selector: str, value: str) -> None:
        """Choose in a drop-down list, which opens outside of the page."""
        self.evaluate(
            f"""(() => {{
                const list = document.querySelector({json.dumps(selector)});
                list.value = {json.dumps(value)};
                list.dispatchEvent(new Event("input", {{ bubbles: true }}));
                list.dispatchEvent(new Event("change", {{ bubbles: true }}));
            }})()"""
        )

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def prefer(self, scheme: str, media: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=media, features=features)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def open_page(folder: Path) -> Iterator[Page]:
    """Start Chromium with its profile in a folder, and yield an empty page of it."""
    if PROGRAM is None:
        msg = "there is no Chromium"
        raise FileNotFoundError(msg)
    ends = [*os.pipe(), *os.pipe()]
    # Descriptors that the launcher's own 3 and 4 cannot overwrite.
    to_read, to_write, from_read, from_write = (fcntl.fcntl(e, fcntl.F_DUPFD, 10) for e in ends)
    for end in ends:
        os.close(end)
    command = [PROGRAM, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(to_read), str(from_write), *command],
            pass_fds=(to_read, from_write),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
        )
    os.close(to_read)
    os.close(from_write)
    pipes = _Pipes(to_write, from_read)
    try:
        whole = Page(pipes, "")
        target = _of_browser(whole, "Target.createTarget", url="about:blank")["targetId"]
        attached = _of_browser(whole, "Target.attachToTarget", targetId=target, flatten=True)
        page = Page(pipes, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.command(f"{domain}.enable")
        page.resize(1280, 900)
        yield page
        pipes.send({"method": "Browser.close"})
    finally:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to_write)
        os.close(from_read)


def _of_browser(whole: Page, method: str, **parameters: Any) -> dict[str, Any]:
    number = whole.pipes.send({"method": method, "params": parameters})
    while True:
        message = whole.pipes.receive(_TIMEOUT)
        if message is None:
            msg = f"{method}: no answer"
            raise TimeoutError(msg)
        if message.get("id") == number:
            result: dict[str, Any] = message["result"]
            return result
