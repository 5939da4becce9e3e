"""The journal's native protocol: a record is one datagram of named fields.

Used by `reportd.log` alone. What does not fit a datagram travels as a sealed memory file, as
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ says. The journal itself adds who sent it (pid, unit).
"""

import errno
import fcntl
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
TIMEOUT_SECONDS = 2.0
"""A journal that takes nothing for so long loses a record rather than stopping its sender."""
STUCK_SECONDS = 30.0
"""So long after that nobody waits for it: a wait for each record would make its sender silent."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_TOO_BIG = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


class Journal:
    """A line to the journal; each process opens its own after the fork."""

    def __init__(
        self, path: Path = SOCKET, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Open it; raises `OSError` if nobody listens there."""
        self._path = str(path)
        self._monotonic = monotonic
        self._waits_from = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(TIMEOUT_SECONDS)
        try:
            self._socket.sendto(b"", self._path)  # the journal passes over what is empty
        except OSError:
            self.close()
            raise

    def send(self, fields: Mapping[str, str]) -> None:
        """Send one record; raises `OSError` if it is lost."""
        data = encoded(fields)
        if self._waits_from and self._monotonic() >= self._waits_from:
            self._waits_from = 0.0
            self._socket.settimeout(TIMEOUT_SECONDS)
        try:
            self._send(data)
        except TimeoutError:
            self._waits_from = self._monotonic() + STUCK_SECONDS
            self._socket.settimeout(0.0)
            raise

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._path)  # by name each time: the journal may restart
        except OSError as error:
            if error.errno not in _TOO_BIG:
                raise
            self._send_file(data)

    def close(self) -> None:
        """Close it; nothing can be sent any more."""
        self._socket.close()

    def _send_file(self, data: bytes) -> None:
        fd = os.memfd_create("reportd-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.truncate(fd, len(data))
            os.pwrite(fd, data, 0)
            fcntl.fcntl(
                fd,
                fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL,
            )
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))
            self._socket.sendmsg([], [rights], 0, self._path)
        finally:
            os.close(fd)


def encoded(fields: Mapping[str, str]) -> bytes:
    """Return a record as the protocol has it; a value with a newline goes with its length."""
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts += [name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [name.encode(), b"=", data, b"\n"]
    return b"".join(parts)


def field_name(key: str) -> str | None:
    """Return a key as the journal names fields; None: it cannot be a name there."""
    name = key.upper()
    return name if _NAME.fullmatch(name) else None
