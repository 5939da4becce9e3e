"""Connections that wait for their next call. One a client, shared by its threads.

urllib3's own pools make, check and look up much for each call that `Client` decides itself.
"""

import ssl
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from reportd.transport.connection import GuardedHTTPConnection, GuardedHTTPSConnection, Resolver
from reportd.transport.guard import DEFAULT_PORTS

MAX_HOSTS = 64
MAX_IDLE_SECONDS = 60.0
"""What lies between may forget a connection without a word; the next call would wait in vain."""

Connection: TypeAlias = GuardedHTTPConnection | GuardedHTTPSConnection


class Server(NamedTuple):
    """Whom a connection leads to, and how it was checked."""

    scheme: str
    host: str
    port: int | None
    allow_private: bool


class IdleConnections:
    """Thread-safe; keeps up to ``most`` connections a server, of the last `MAX_HOSTS` servers."""

    def __init__(
        self,
        most: int,
        resolver: Resolver,
        context: ssl.SSLContext,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet."""
        self._now = now
        self._most = most
        self._resolver = resolver
        self._context = context
        self._lock = threading.Lock()
        self._idle: OrderedDict[Server, list[tuple[Connection, float]]] = OrderedDict()
        weakref.finalize(self, _close_all, self._idle)

    def take(self, server: Server) -> Connection:
        """Return the connection that was used last, if it still stands, or one to be opened."""
        while True:
            with self._lock:
                idle = self._idle.get(server)
                found, since = idle.pop() if idle else (None, 0.0)
            if found is None:
                return self._new(server)
            if found.is_connected and self._now() - since < MAX_IDLE_SECONDS:
                return found
            found.close()

    def give_back(self, server: Server, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; close it if there is no room."""
        gone: list[tuple[Connection, float]] = []
        with self._lock:
            idle = self._idle.setdefault(server, [])
            self._idle.move_to_end(server)
            (idle if len(idle) < self._most else gone).append((connection, self._now()))
            if len(self._idle) > MAX_HOSTS:
                gone += self._idle.popitem(last=False)[1]
        for one, _ in gone:
            one.close()

    def clear(self) -> None:
        """Close what is idle."""
        with self._lock:
            _close_all(self._idle)

    def _new(self, server: Server) -> Connection:
        options: dict[str, Any] = {
            "resolver": self._resolver,
            "allow_private": server.allow_private,
        }
        port = server.port or DEFAULT_PORTS[server.scheme]
        if server.scheme == "https":
            return GuardedHTTPSConnection(server.host, port, ssl_context=self._context, **options)
        return GuardedHTTPConnection(server.host, port, **options)


def _close_all(idle: OrderedDict[Server, list[tuple[Connection, float]]]) -> None:
    for connections in idle.values():
        for one, _ in connections:
            one.close()
    idle.clear()
