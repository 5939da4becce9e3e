"""The sockets of calls: their timeouts, with as few system calls as will do."""

import socket

import pytest

from reportd.transport.connection import _PlainSocket


@pytest.mark.parametrize(
    ("wanted_seconds", "set_seconds"),
    [(60.0, 60.0), (59.5, 60.0), (60.5, 60.0), (59.0, 59.0), (0.2, 0.2), (0.0, 0.0), (None, None)],
)
def test_a_timeout_that_is_nearly_right_stays(
    wanted_seconds: float | None, set_seconds: float | None
) -> None:
    """So a call may end late by a hundredth of its time, and no more."""
    with _PlainSocket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(60.0)
        sock.settimeout(wanted_seconds)

        assert sock.gettimeout() == set_seconds
