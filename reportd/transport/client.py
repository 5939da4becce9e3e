"""The HTTP client: sends a `Call`, returns an `Answer` or a `Failure`.

One a worker process, shared by its threads, created after the fork. It refuses hosts and addresses
that are not the partner's, keeps the deadline and the size limits, follows no redirect and retries
nothing: each call is one exchange, as a partner counts them. urllib3's errors are translated here,
once; what they say may hold a URL's secrets, so nothing of their text leaves this module.
"""

import errno
import logging
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead
from urllib.parse import SplitResult, quote, urlsplit

from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError
from urllib3.exceptions import TimeoutError as AnyTimeoutError
from urllib3.util.url import _encode_target

from reportd import __version__
from reportd.model.content import IN_MEMORY_BYTES, Content, chunks_of, collected
from reportd.transport.connection import PrivateAddressError, Resolver, resolve, tls_context
from reportd.transport.decoding import CutShortError, TooLargeError, without_encoding
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from reportd.transport.guard import refusal
from reportd.transport.idle import Connection, IdleConnections, Server

_CHUNK_BYTES = 1024 * 1024
_LEAST_FINAL = 200
_BODILESS = frozenset({204, 205, 304})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_BODIED = frozenset({"POST", "PUT", "PATCH"})
_AGENT = f"reportd/{__version__}"


class _Stop(Exception):  # noqa: N818 - carries a result, not an error
    def __init__(self, kind: FailureKind, detail: str) -> None:
        self.kind = kind
        self.detail = detail


class Client:
    """Sends calls. Thread-safe; keeps up to ``pool_size`` connections a host open."""

    def __init__(
        self,
        pool_size: int = 16,
        *,
        resolver: Resolver = resolve,
        allow_private: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet. ``allow_private`` is for all calls; a `Call` may allow it, too."""
        # urllib3 logs whole URLs, secrets included.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        self._allow_private = allow_private
        self._idle = IdleConnections(pool_size, resolver, context or tls_context())

    def send(self, call: Call) -> Answer | Failure:
        """Send one call and read the whole answer; never raises for trouble on the network.

        Blocks until ``call.timeout_seconds`` have passed at the latest (but for the system's
        resolver, which keeps its own time).
        """
        started = time.monotonic()
        heads: list[int] = []
        try:
            status, headers, body = self._exchange(call, started + call.timeout_seconds, heads)
        except _Stop as stop:
            return Failure(
                kind=stop.kind,
                detail=stop.detail,
                seconds=time.monotonic() - started,
                status=heads[0] if heads else None,
            )
        return Answer(status=status, headers=headers, body=body, seconds=time.monotonic() - started)

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.clear()

    def _exchange(
        self, call: Call, deadline: float, heads: list[int]
    ) -> tuple[int, dict[str, str], Content]:
        """Return the answer; its status is in ``heads`` although the rest may not come."""
        allow_private = call.allow_private or self._allow_private
        refused = refusal(call.url, call.hosts, allow_private=allow_private)
        if refused:
            raise _Stop(FailureKind.REFUSED, refused)
        parts = urlsplit(call.url)
        server = Server(parts.scheme, parts.hostname or "", parts.port, allow_private)
        connection = self._idle.take(server)
        try:
            response = _asked(connection, call, _target(parts, call.secret_query), deadline)
            if response.status < _LEAST_FINAL:
                raise _Stop(FailureKind.RESET, f"answers {response.status}, which nobody asked for")
            heads.append(response.status)
            headers = {name.lower(): _unfolded(value) for name, value in response.headers.items()}
            body = _read(response, call.max_answer_bytes)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            connection.close()
            raise _translated(error, server.host, deadline) from None
        except BaseException:
            connection.close()
            raise
        self._idle.give_back(server, connection)
        try:
            if encoding := headers.get("content-encoding", ""):
                chunks = without_encoding(chunks_of(body), encoding, call.max_answer_bytes)
                body = collected(chunks)
        except TooLargeError as error:
            raise _Stop(FailureKind.TOO_LARGE, str(error)) from None
        except CutShortError as error:
            raise _Stop(FailureKind.SHORT_BODY, str(error)) from None
        except ValueError as error:
            raise _Stop(FailureKind.BAD_ENCODING, str(error)) from None
        except OSError as error:
            raise _translated(error, server.host, deadline) from None
        return response.status, headers, body


def _asked(connection: Connection, call: Call, target: str, deadline: float) -> HTTPResponse:
    """Send a call and return the answer's head, its body unread."""
    headers = _headers(call)
    named = {name.lower() for name in headers}
    connection.begin(deadline)
    if connection.sock is None:
        connection.connect()
    try:
        connection.putrequest(
            call.method, target, skip_host="host" in named, skip_accept_encoding=True
        )
        for name, value in headers.items():
            connection.putheader(name, value)
        if "content-length" not in named and (call.body is not None or call.method in _BODIED):
            connection.putheader("Content-Length", str(len(call.body or b"")))
        connection.endheaders(call.body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # a server may answer and close before it has read everything: that answer counts
    return connection.answer()


def _headers(call: Call) -> dict[str, str]:
    return {
        "User-Agent": _AGENT,
        "Accept-Encoding": "gzip",
        **call.headers,
        **dict(call.secret_headers),
    }


def _target(parts: SplitResult, secret_query: tuple[tuple[str, str], ...]) -> str:
    hidden = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in secret_query
    )
    whole = "&".join(part for part in (parts.query, hidden) if part)
    path = parts.path or "/"
    return str(_encode_target(f"{path}?{whole}" if whole else path))


def _unfolded(value: str) -> str:
    """Return a header's value in one line: that it may be continued is long obsolete."""
    return " ".join(value.split()) if "\n" in value or "\r" in value else value


def _read(response: HTTPResponse, limit_bytes: int) -> Content:
    announced = response.length
    if len(set(response.headers.get_all("content-length", ()))) > 1:
        raise _Stop(FailureKind.RESET, "announces two lengths at once")
    if announced is not None and announced > limit_bytes:
        raise _Stop(FailureKind.TOO_LARGE, f"announces {announced} bytes, {limit_bytes} allowed")
    if announced is not None and announced <= IN_MEMORY_BYTES:
        return response.read()
    body = collected(_chunks(response, limit_bytes))
    bodiless = response.status in _BODILESS or response.chunked
    if not body and announced is None and not bodiless:
        # No length, no chunks, no body: the connection may have ended within the head.
        raise _Stop(FailureKind.SHORT_BODY, "the answer ends before its body")
    return body


def _chunks(response: HTTPResponse, limit_bytes: int) -> Iterator[bytes]:
    size = 0
    while chunk := response.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > limit_bytes:
            raise _Stop(FailureKind.TOO_LARGE, f"more than {limit_bytes} bytes")
        yield chunk
    if response.length:
        raise IncompleteRead(b"", response.length)


def _translated(error: Exception, host: str, deadline: float) -> _Stop:
    """Return what an error of urllib3 means, in words that hold no URL."""
    if isinstance(error, PrivateAddressError):
        return _Stop(FailureKind.REFUSED, f"{host} has a private address")
    if isinstance(error, NameResolutionError):
        return _Stop(FailureKind.CONNECT, f"{host} does not resolve")
    if isinstance(error, NewConnectionError):
        return _Stop(FailureKind.CONNECT, f"no connection to {host}: {_system(error)}")
    if isinstance(error, (AnyTimeoutError, TimeoutError)):
        return _Stop(FailureKind.TIMEOUT, f"no complete answer of {host} in time")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return _Stop(FailureKind.NO_ROOM, f"TMPDIR has no room: the answer of {host} is lost")
    if isinstance(error, ssl.SSLError):
        return _Stop(FailureKind.CONNECT, f"TLS with {host}: {_tls(error)}")
    if time.monotonic() >= deadline:
        return _Stop(FailureKind.TIMEOUT, f"no complete answer of {host} in time")
    if isinstance(error, IncompleteRead):
        return _Stop(FailureKind.SHORT_BODY, f"the answer of {host} is cut short")
    if isinstance(error, (HTTPException, OSError)):
        return _Stop(FailureKind.RESET, f"{host} broke the connection: {_system(error)}")
    return _Stop(FailureKind.RESET, f"the exchange with {host} failed: {type(error).__name__}")


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and len(found) < 10:
        found.append(one)
        inner = [arg for arg in one.args if isinstance(arg, BaseException)]
        one = one.__cause__ or (inner[0] if inner else None)
    return found


def _system(error: Exception) -> str:
    """Say which error of the system is behind it, else the kind of the innermost one."""
    causes = _causes(error)
    for one in causes:
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    return type(causes[-1]).__name__


def _tls(error: Exception) -> str:
    for one in _causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message
        if isinstance(one, ssl.SSLError) and one.reason:
            return one.reason
    return type(error).__name__
