"""Small things on 127.0.0.1: a free port, and a proxy that can do what a network does."""

import socket
import threading
from contextlib import suppress
from typing import Self

_BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def listens(port: int) -> bool:
    """Say whether somebody takes connections."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Proxy:
    """Passes connections on to a port; may answer 503, or say nothing, instead."""

    def __init__(self, target: int) -> None:
        """Listen at once, at a port of its own."""
        self._target = target
        self._mode = "pass"
        self._times = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.connections = 0
        """Taken since the mode was set."""

    def __enter__(self) -> Self:
        """Begin to take connections."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._listener.close()
        self.become("closed")

    def become(self, mode: str, *, times: int = 0) -> None:
        """Be ``pass``, ``503`` or ``hang`` from now on; connections that are open are cut.

        With ``times``, so many connections long, then ``pass``.
        """
        with self._lock:
            self._mode = mode
            self._times = times
            self.connections = 0
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            with self._lock:
                mode = self._mode
                self.connections += 1
                if self.connections == self._times:
                    self._mode = "pass"
                self._open.add(sock)
            try:
                if mode == "pass":
                    self._pass_on(sock)
                elif mode == "503":
                    sock.recv(65536)
                    sock.sendall(_BUSY)
                else:
                    while sock.recv(65536):
                        pass
            finally:
                with self._lock:
                    self._open.discard(sock)

    def _pass_on(self, sock: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target), 5) as far:
            far.settimeout(None)
            back = threading.Thread(target=_pump, args=(far, sock), daemon=True)
            back.start()
            _pump(sock, far)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
