"""The real programs, as child processes of the demo and the tests; ended by their own pids."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from reportd.errors import ReportdError

_STOP_SECONDS = 90.0


class ProgramError(ReportdError):
    """A program ended in a way that it should not."""


class Program:
    """One program; its output goes to a file, appended over restarts.

    It is killed when the thread that started it ends.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        """Start nothing yet; ``module`` is run as ``python -m``."""
        self._name = module
        # It must not outlive whoever started it: their deaths are what demo and tests are about
        tie = ("setpriv", "--pdeathsig", "KILL")
        self._command = [*tie, sys.executable, "-m", module, *arguments]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id; raises `ProgramError` if it was never started."""
        if self._process is None:
            raise ProgramError(f"{self._name} was not started")
        return self._process.pid

    def status(self) -> int | None:
        """Return its exit status; None: it runs, or was never started."""
        return None if self._process is None else self._process.poll()

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit status; raises `ProgramError` if it goes on."""
        if self._process is None:
            raise ProgramError(f"{self._name} was not started")
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{self._name} did not end in {seconds:g} s") from None

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; nothing happens if it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self, seconds: float = _STOP_SECONDS) -> int:
        """SIGTERM, and wait; SIGKILL and `ProgramError` if that takes too long."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except ProgramError:
            self.kill()
            raise

    def said(self, lines: int = 15) -> str:
        """Return the end of its log."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Daemon(Program):
    """``reportd``: the supervisor and its children."""

    def __init__(self, config: Path, log: Path) -> None:
        super().__init__("reportd.cli.reportd", ["--config", str(config)], log)

    def children(self) -> dict[int, str]:
        """Return the running children: pid -> what ``ps`` shows."""
        return children_of(self.pid)

    def workers(self) -> list[int]:
        """Return the pids of the workers, by title."""
        found = self.children()
        return sorted((pid for pid in found if "worker" in found[pid]), key=found.__getitem__)

    @staticmethod
    def kill_child(pid: int) -> None:
        """SIGKILL one child: the supervisor has to notice."""
        os.kill(pid, signal.SIGKILL)

    def kill_all(self, seconds: float = 10.0) -> None:
        """SIGKILL the supervisor and wait until its children are gone, too.

        They die with it; one that does not is killed by its own pid. One that was killed before
        may be reaped after it was listed: it is gone already.
        """
        found = [_handle_of(pid) for pid in self.children()]
        handles = [handle for handle in found if handle is not None]
        self.kill()
        deadline = time.monotonic() + seconds
        try:
            for handle in handles:
                if not _ended(handle, deadline - time.monotonic()):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _ended(handle, seconds)
        finally:
            for handle in handles:
                os.close(handle)


class Enqueuer(Program):
    """``reportd-enqueue``: Spark writes one schedule's requests."""

    def __init__(self, config: Path, schedule: Path, log: Path) -> None:
        super().__init__("reportd.cli.enqueue", [str(schedule), "--config", str(config)], log)


def children_of(pid: int) -> dict[int, str]:
    """Return a process's children: pid -> command line."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return {}
    found = {}
    for child in map(int, text.split()):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        found[child] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _handle_of(pid: int) -> int | None:
    """Return a process's pidfd, or None if there is no such process any more."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _ended(handle: int, seconds: float) -> bool:
    """Wait for a process that is not ours to reap."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
