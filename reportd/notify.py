"""What systemd is told (sd_notify): one owner of the socket, in the supervisor.

Without ``NOTIFY_SOCKET`` (no systemd) everything here does nothing. Never raises, never blocks
for long: systemd being away must not end the daemon.
"""

import os
import time
from collections.abc import Mapping

import sdnotify

_MAX_STATUS = 1000
_TIMEOUT_SECONDS = 1.0


class Notifier:
    """The line to systemd; made in the process whose pid is systemd's main pid."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Connect if there is a socket."""
        self._notifier = sdnotify.SystemdNotifier() if environ.get("NOTIFY_SOCKET") else None
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.settimeout(_TIMEOUT_SECONDS)

    @property
    def is_connected(self) -> bool:
        """Whether somebody listens."""
        return self._notifier is not None

    def ready(self, status: str = "") -> None:
        """Say that start-up, or a reload, is complete."""
        self._send("READY=1" + _status(status))

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_usec}")

    def stopping(self, status: str = "") -> None:
        """Say that the shutdown begins."""
        self._send("STOPPING=1" + _status(status))

    def status(self, text: str) -> None:
        """Say in one line what goes on, for ``systemctl status``."""
        self._send(_status(text).removeprefix("\n"))

    def watchdog(self) -> None:
        """Say that the main loop has turned."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Say that a start, a reload or a stop goes on: not to be given up on for so long."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def _send(self, state: str) -> None:
        if self._notifier is not None and state:
            # it encodes as Latin-1, and drops without a word what does not fit: hand it UTF-8
            self._notifier.notify(state.encode().decode("latin-1"))


def watchdog_seconds(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float:
    """Return how often systemd wants `Notifier.watchdog`, half of its limit; 0: not at all."""
    if environ.get("WATCHDOG_PID", str(pid or os.getpid())) != str(pid or os.getpid()):
        return 0.0
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 2e6 if usec.isdecimal() else 0.0


def _status(text: str) -> str:
    """Return the status as an assignment; a newline would start another one."""
    line = "".join(c if c.isprintable() else " " for c in text)[:_MAX_STATUS]
    return f"\nSTATUS={line}" if line else ""
