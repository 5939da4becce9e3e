"""The HTTP client: sends a `Call`, returns an `Answer` or a `Failure`.

One a worker process, shared by its threads, created after the fork. It follows redirects itself,
refuses hosts and addresses that are not the partner's, keeps the deadline and the size limits,
and retries nothing. urllib3's errors are translated here, once; what they say may hold a URL's
secrets, so nothing of their text leaves this module.
"""

import errno
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from urllib3._collections import RecentlyUsedContainer
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    InvalidChunkLength,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as AnyTimeoutError

from reportd import __version__
from reportd.model.content import IN_MEMORY_BYTES, Content, chunks_of, collected
from reportd.transport.connection import (
    GuardedHTTPConnection,
    GuardedHTTPSConnection,
    PrivateAddressError,
    Resolver,
    resolve,
    tls_context,
)
from reportd.transport.decoding import CutShortError, TooLargeError, without_encoding
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from reportd.transport.guard import DEFAULT_PORTS, refusal

MAX_REDIRECTS = 3
_MAX_HOSTS = 64
_CHUNK_BYTES = 1024 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODILESS = frozenset({204, 205, 304})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AGENT = f"reportd/{__version__}"


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = GuardedHTTPConnection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = GuardedHTTPSConnection


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
        self._pool_size = pool_size
        self._resolver = resolver
        self._allow_private = allow_private
        self._context = context or tls_context()
        self._lock = threading.Lock()
        self._pools: RecentlyUsedContainer[
            tuple[str, str, int, bool], urllib3.HTTPConnectionPool
        ] = RecentlyUsedContainer(_MAX_HOSTS, dispose_func=lambda pool: pool.close())

    def send(self, call: Call) -> Answer | Failure:
        """Send one call and read the whole answer; never raises for trouble on the network.

        Blocks until ``call.timeout_seconds`` have passed at the latest (but for the system's
        resolver, which keeps its own time).
        """
        started = time.monotonic()
        try:
            status, headers, body = self._follow(call, started + call.timeout_seconds)
        except _Stop as stop:
            return Failure(kind=stop.kind, detail=stop.detail, seconds=time.monotonic() - started)
        return Answer(status=status, headers=headers, body=body, seconds=time.monotonic() - started)

    def close(self) -> None:
        """Close the idle connections."""
        self._pools.clear()

    def _follow(self, call: Call, deadline: float) -> tuple[int, dict[str, str], Content]:
        allow_private = call.allow_private or self._allow_private
        for _ in range(MAX_REDIRECTS + 1):
            refused = refusal(call.url, call.hosts, allow_private=allow_private)
            if refused:
                raise _Stop(FailureKind.REFUSED, refused)
            status, headers, body = self._exchange(call, deadline, allow_private)
            target = headers.get("location", "")
            if status not in _REDIRECTS or call.method != "GET" or not target:
                return status, headers, body
            call = _redirected(call, target)
        raise _Stop(FailureKind.REFUSED, f"more than {MAX_REDIRECTS} redirects")

    def _exchange(
        self, call: Call, deadline: float, allow_private: bool
    ) -> tuple[int, dict[str, str], Content]:
        parts = urlsplit(call.url)
        left = deadline - time.monotonic()
        if left <= 0:
            raise _Stop(FailureKind.TIMEOUT, "the deadline of the call has passed")
        host = parts.hostname or ""
        pool = self._pool(parts.scheme, host, parts.port, allow_private)
        try:
            response = pool.urlopen(
                call.method,
                _target(parts.path, parts.query, call.secret_query),
                body=call.body,
                headers=_headers(call),
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=urllib3.Timeout(total=left),
                preload_content=False,
                decode_content=False,
            )
            try:
                body = _read(response, call.max_answer_bytes)
                headers = {name.lower(): value for name, value in response.headers.items()}
            finally:
                if not response.closed:
                    response.close()
                response.release_conn()
        except (HTTPError, OSError, ValueError) as error:
            raise _translated(error, host, deadline) from None
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
            raise _translated(error, host, deadline) from None
        return response.status, headers, body

    def _pool(
        self, scheme: str, host: str, port: int | None, allow_private: bool
    ) -> urllib3.HTTPConnectionPool:
        port = port or DEFAULT_PORTS[scheme]
        key = (scheme, host, port, allow_private)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                options: dict[str, Any] = {
                    "resolver": self._resolver,
                    "allow_private": allow_private,
                }
                if scheme == "https":
                    pool = _TLSPool(
                        host, port, maxsize=self._pool_size, ssl_context=self._context, **options
                    )
                else:
                    pool = _PlainPool(host, port, maxsize=self._pool_size, **options)
                self._pools[key] = pool
        return pool


def _headers(call: Call) -> dict[str, str]:
    return {
        "User-Agent": _AGENT,
        "Accept-Encoding": "gzip",
        **call.headers,
        **dict(call.secret_headers),
    }


def _target(path: str, query: str, secret_query: tuple[tuple[str, str], ...]) -> str:
    hidden = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in secret_query
    )
    whole = "&".join(part for part in (query, hidden) if part)
    return f"{path or '/'}?{whole}" if whole else path or "/"


def _redirected(call: Call, target: str) -> Call:
    """Return the call to where a redirect points, without secrets unless it is the same host."""
    try:
        url = urljoin(call.url, target)
        old, new = urlsplit(call.url), urlsplit(url)
        same = (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port)
    except ValueError:
        raise _Stop(FailureKind.REFUSED, "a redirect to a URL that does not parse") from None
    if same:
        return replace(call, url=url)
    return replace(call, url=url, secret_headers=(), secret_query=())


def _read(response: urllib3.BaseHTTPResponse, limit_bytes: int) -> Content:
    announced = response.length_remaining
    if announced is not None and announced > limit_bytes:
        raise _Stop(FailureKind.TOO_LARGE, f"announces {announced} bytes, {limit_bytes} allowed")
    if announced is not None and announced <= IN_MEMORY_BYTES:
        return response.read(decode_content=False)
    body = collected(_chunks(response, limit_bytes))
    bodiless = response.status in _BODILESS or "transfer-encoding" in response.headers
    if not body and announced is None and not bodiless:
        # No length, no chunks, no body: the connection may have ended within the head.
        raise _Stop(FailureKind.SHORT_BODY, "the answer ends before its body")
    return body


def _chunks(response: urllib3.BaseHTTPResponse, limit_bytes: int) -> Iterator[bytes]:
    size = 0
    while chunk := response.read(_CHUNK_BYTES, decode_content=False):
        size += len(chunk)
        if size > limit_bytes:
            raise _Stop(FailureKind.TOO_LARGE, f"more than {limit_bytes} bytes")
        yield chunk


def _translated(error: Exception, host: str, deadline: float) -> _Stop:
    """Return what an error of urllib3 means, in words that hold no URL."""
    if isinstance(error, PrivateAddressError):
        return _Stop(FailureKind.REFUSED, f"{host} has a private address")
    if isinstance(error, NameResolutionError):
        return _Stop(FailureKind.CONNECT, f"{host} does not resolve")
    if isinstance(error, NewConnectionError):
        return _Stop(FailureKind.CONNECT, f"no connection to {host}: {_system(error)}")
    if isinstance(error, (ConnectTimeoutError, AnyTimeoutError, TimeoutError)):
        return _Stop(FailureKind.TIMEOUT, f"no complete answer of {host} in time")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return _Stop(FailureKind.RESET, f"no room in TMPDIR for the answer of {host}")
    if isinstance(error, SSLError):
        return _Stop(FailureKind.CONNECT, f"TLS with {host}: {_tls(error)}")
    if time.monotonic() >= deadline:
        return _Stop(FailureKind.TIMEOUT, f"no complete answer of {host} in time")
    if isinstance(error, (IncompleteRead, InvalidChunkLength)) or _cut_short(error):
        return _Stop(FailureKind.SHORT_BODY, f"the answer of {host} is cut short")
    if isinstance(error, ProtocolError):
        return _Stop(FailureKind.RESET, f"{host} broke the connection: {_system(error)}")
    return _Stop(FailureKind.RESET, f"the exchange with {host} failed: {type(error).__name__}")


def _cut_short(error: Exception) -> bool:
    return any(type(one).__name__ == "IncompleteRead" for one in _causes(error))


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
