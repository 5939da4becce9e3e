"""The sockets of calls: their timeouts, with as few system calls as will do."""

import socket
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from reportd.transport import connection
from reportd.transport.connection import GuardedHTTPSConnection, _PlainSocket
from tests.integration.transport.serving import Exchange, Server


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


@pytest.mark.parametrize(
    "use",
    [
        lambda sock: sock.send(b"x"),
        lambda sock: sock.sendall(b"x"),
        lambda sock: sock.recv_into(bytearray(1)),
    ],
)
def test_nothing_goes_on_after_the_deadline(
    use: Callable[[socket.socket], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS sends a body in many parts, and each of them looks at what is left of the call."""
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    far, near = socket.socketpair()
    with far, near, _PlainSocket(near.family, near.type, fileno=near.detach()) as sock:
        far.sendall(b"xxx")
        sock.expires = 1060.0
        use(sock)
        assert sock.gettimeout() == 60.0

        sock.expires = 1000.0
        with pytest.raises(TimeoutError):
            use(sock)


class Handshakes(ssl.SSLContext):
    """Notes how long a handshake may take, and makes none."""

    seconds: float | None = None

    def wrap_socket(self, sock: socket.socket, *_: Any, **__: Any) -> ssl.SSLSocket:
        self.seconds = sock.gettimeout()
        raise ssl.SSLError("no handshake")


def test_the_handshake_has_what_connecting_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a minute that connecting took 40 seconds of, 20."""
    now = 1000.0

    class SlowSocket(_PlainSocket):
        def connect(self, address: Any) -> None:
            nonlocal now
            super().connect(address)
            now += 40.0

    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(connection, "_PlainSocket", SlowSocket)
    context = Handshakes(ssl.PROTOCOL_TLS_CLIENT)
    with Server(Exchange.hang) as server:
        made = GuardedHTTPSConnection(
            "127.0.0.1",
            server.port,
            ssl_context=context,
            resolver=lambda host, port: [(socket.AF_INET, (host, port))],
            allow_private=True,
        )
        made.begin(now + 60.0)
        with pytest.raises(ssl.SSLError):
            made.connect()
        made.close()

    assert context.seconds == 20.0
