"""Connections that go only where they may, and never outlive their call's deadline.

Used by `reportd.transport.client` alone. The address that was checked is the address that is
connected to: a name that changes in between (DNS rebinding) changes nothing.
"""

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection as PlainConnection
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)

from reportd.transport.guard import is_public

Address = tuple[int, tuple[Any, ...]]
"""Address family, and what ``socket.connect`` takes."""
Resolver = Callable[[str, int], Sequence[Address]]


TIMEOUT_SHARE = 0.01
"""A socket's timeout may be wrong by so much: a call may end so much of its time late."""

LEAST_SECONDS = 0.001
"""The shortest timeout: 0 would mean not to wait at all."""

RECEIVE_BYTES = 64 * 1024
MAX_INTERIM = 20
_CONTINUE, _SWITCHING, _OK = 100, 101, 200


class PrivateAddressError(HTTPError):
    """The host's address is private: nothing was sent."""


def resolve(host: str, port: int) -> list[Address]:
    """Ask the system's resolver; raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class _Expiring:
    """What both kinds of sockets get: sending and receiving end at ``expires`` (monotonic seconds).

    Each system call lets go of the interpreter, which a busy worker then waits for: so there are
    few of them.
    """

    expires = float("inf")

    def settimeout(self, value: float | None) -> None:
        """Set it, unless what is set is as good: within `TIMEOUT_SHARE` of it."""
        present: float | None = self.gettimeout()  # type: ignore[attr-defined]
        if value and present and abs(present - value) <= value * TIMEOUT_SHARE:
            return
        super().settimeout(value)  # type: ignore[misc]

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:
        """Return a file that takes a small answer in one go, where nothing else is said."""
        size = RECEIVE_BYTES if buffering is None else buffering
        return super().makefile(mode, size, **options)  # type: ignore[misc]

    def recv_into(self, *arguments: Any) -> int:
        """Receive, within what is left of the deadline."""
        self._hurry()
        return super().recv_into(*arguments)  # type: ignore[misc,no-any-return]

    def send(self, *arguments: Any) -> int:
        """Send a part, within what is left of the deadline: TLS sends many of them."""
        self._hurry()
        return super().send(*arguments)  # type: ignore[misc,no-any-return]

    def sendall(self, *arguments: Any) -> None:
        """Send everything, within what is left of the deadline."""
        self._hurry()
        super().sendall(*arguments)  # type: ignore[misc]

    def _hurry(self) -> None:
        if self.expires == float("inf"):
            return
        left = self.expires - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of the call has passed")
        self.settimeout(left)


class _PlainSocket(_Expiring, socket.socket):
    pass


class _TLSSocket(_Expiring, ssl.SSLSocket):
    pass


def tls_context() -> ssl.SSLContext:
    """Return a context that verifies against the system's authorities."""
    context = ssl.create_default_context()
    context.sslsocket_class = _TLSSocket
    return context


class _FinalResponse(HTTPResponse):
    """An answer behind all that say that it is still to come (RFC 9110, 15.2).

    The library takes 100 for such a one alone: any other would be the answer, and the answer itself
    that of the connection's next call.
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not _CONTINUE < status < _OK or status == _SWITCHING:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException(f"more than {MAX_INTERIM} interim answers")


class _Guarded:
    """What both kinds of connections get: the address check, and the deadline."""

    sock: Any
    response_class: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._resolver: Resolver = options.pop("resolver")
        self._allow_private: bool = options.pop("allow_private")
        self._expires = float("inf")
        super().__init__(*arguments, **options)
        self.response_class = _FinalResponse

    def _new_conn(self) -> socket.socket:
        host: str = self._dns_host  # type: ignore[attr-defined]
        deadline = self._expires
        try:
            addresses = self._resolver(host, self.port)  # type: ignore[attr-defined]
        except (OSError, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(host, self, reason) from error  # type: ignore[arg-type]
        allowed = [one for one in addresses if self._allow_private or is_public(one[1][0])]
        if addresses and not allowed:
            raise PrivateAddressError(f"{host} has a private address")
        last: OSError = OSError("the name has no address")
        for number, (family, address) in enumerate(allowed):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:  # one that says nothing leaves time for those behind it
                sock = _connected(family, address, left / (len(allowed) - number))
            except OSError as error:
                last = error
                continue
            sock.settimeout(max(deadline - time.monotonic(), LEAST_SECONDS))  # the TLS handshake's
            return sock
        if isinstance(last, TimeoutError) or deadline <= time.monotonic():
            raise ConnectTimeoutError(self, "connecting timed out") from last
        raise NewConnectionError(self, str(last)) from last  # type: ignore[arg-type]

    def begin(self, expires: float) -> None:
        """Give the call that begins its time, until ``expires`` (monotonic seconds).

        Connecting, the handshake, sending and the whole answer share it.
        """
        self._expires = expires
        if self.sock is not None:
            self.sock.expires = expires

    def connect(self) -> None:
        """Connect, within what the call that begins has."""
        super().connect()  # type: ignore[misc]
        self.sock.expires = self._expires

    def answer(self) -> HTTPResponse:
        """Return the head of the answer."""
        # Not urllib3's own, which wraps it once more for each call
        return PlainConnection.getresponse(self)  # type: ignore[arg-type]


def _connected(family: int, address: tuple[Any, ...], timeout_seconds: float) -> _PlainSocket:
    sock = _PlainSocket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


class GuardedHTTPConnection(_Guarded, HTTPConnection):
    """Plain http, where a partner file allows it."""


class GuardedHTTPSConnection(_Guarded, HTTPSConnection):
    """TLS, verified."""
