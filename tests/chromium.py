"""A real browser for the tests: Debian's Chromium, headless, spoken to over a pipe (CDP)."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from reportd.errors import UnavailableError

_PATIENCE_SECONDS = 60.0
_COMPLAINTS = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}


def _short_folder() -> Path:
    """Return where its sockets lie: a test's own folder is too long for their paths."""
    folder = Path(__file__).parents[1] / "build" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Chromium:
    """One browser with one page."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet; its profile and log lie in ``folder``."""
        self._folder = folder
        self._number = 0
        self._rest = b""
        self._session = ""
        self.complaints: list[dict[str, Any]] = []
        """What stands in the console: errors, refused resources, messages."""
        self.requested: list[str] = []
        """The addresses that the page has asked for."""

    def __enter__(self) -> Self:
        """Start it, with an empty page."""
        program = shutil.which("chromium")
        if program is None:
            raise UnavailableError("chromium is missing: apt-get install chromium")
        self._folder.mkdir()
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", f"--user-data-dir={self._folder / 'profile'}"),
            "--window-size=1300,620",
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        ]
        # It reads from descriptor 3 and writes to 4
        wired = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        with (self._folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "bash", "-c", wired, "bash", program, *options],
                pass_fds=(to_read, to_write),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(_short_folder())},
            )
        os.close(to_read)
        os.close(to_write)
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def open(self, address: str) -> None:
        """Go to an address; raises when it cannot be had."""
        error = self._ask("Page.navigate", url=address).get("errorText")
        if error:
            raise AssertionError(f"{address}: {error}")

    def eval(self, script: str) -> Any:
        """Return what a script gives in the page."""
        return self._ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def text(self) -> str:
        """Return what stands on the page, as a person sees it."""
        return str(self.eval("document.body.innerText"))

    def picture(self, file: Path) -> None:
        """Save what is seen as a PNG."""
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                if "error" in said:
                    raise AssertionError(f"{method}: {said['error']}")
                found: dict[str, Any] = said["result"]
                return found
            if said.get("method") in _COMPLAINTS:
                self.complaints.append(said)
            if said.get("method") == "Network.requestWillBeSent":
                self.requested.append(said["params"]["request"]["url"])

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], deadline - time.monotonic())
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                log = (self._folder / "chromium.log").read_text(errors="replace")
                raise UnavailableError(f"chromium says nothing: {log[-2000:]}")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        return said
