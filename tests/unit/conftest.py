"""Unit tests open no socket and do not sleep: what they test is handed time and events."""

import socket
import sys
import time
from collections.abc import Iterator

import pytest

_NETWORK = frozenset(
    {
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendmsg",
        "socket.sendto",
    }
)


class ForbiddenInUnitTestError(BaseException):
    """A unit test did what only an integration test may; nothing under test can eat it."""


class _Guard:
    """An audit hook: sees every socket of this interpreter, C code's own excepted."""

    def __init__(self) -> None:
        self.on = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event in _NETWORK:
            opened = arguments[0]
            if isinstance(opened, socket.socket) and opened.family == socket.AF_UNIX:
                return  # a file, as systemd's notify socket is
            raise ForbiddenInUnitTestError(f"{event}{arguments!r}")


_guard = _Guard()
sys.addaudithook(_guard)  # there is no way to take one away again, hence the switch


def _no_sleep(seconds: float) -> None:
    raise ForbiddenInUnitTestError(f"time.sleep({seconds})")


@pytest.fixture(autouse=True)
def _neither_network_nor_sleep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make sockets and sleeping fail for the time of one test."""
    monkeypatch.setattr(time, "sleep", _no_sleep)
    _guard.on = True
    yield
    _guard.on = False
