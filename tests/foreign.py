"""Servers of others' making, as processes of the tests: on 127.0.0.1, dying with their parent."""

import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reportd.errors import UnavailableError
from tests.loopback import listens

_START_SECONDS = 60.0


class ForeignServer:
    """One such process; it may be started again after its end."""

    def __init__(self, name: str, log: Path) -> None:
        """Start nothing yet."""
        self._name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel's parent-death signal counts the starting *thread* as the parent
        self._starter = ThreadPoolExecutor(1, thread_name_prefix=name)

    def start(self, command: Sequence[str], port: int, environ: Mapping[str, str]) -> None:
        """Start it and return when it listens; raises `UnavailableError` with its words."""
        with self._log.open("ab") as log:
            self._process = self._starter.submit(
                subprocess.Popen,
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).result()
        deadline = time.monotonic() + _START_SECONDS
        while not listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")
                raise UnavailableError(f"{self._name} does not start: {said[-2000:]}")
            select.select([], [], [], 0.02)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._starter.shutdown()
