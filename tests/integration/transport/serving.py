"""A server on loopback that answers with raw bytes, or does what no server should."""

import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Behaviour = Callable[["Exchange"], None]


class Exchange:
    """One request and the socket it came by."""

    def __init__(
        self, sock: socket.socket, head: bytes, body: bytes, stop: threading.Event
    ) -> None:
        self.sock = sock
        self.line, *fields = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = self.line.split(" ")
        self.headers = {
            k.lower(): v for k, v in (field.split(": ", 1) for field in fields if field)
        }
        self.body = body
        self.stop = stop

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.sock.sendall(data)

    def reply(self, body: bytes = b"ok", status: int = 200, **headers: str) -> None:
        """Send a proper answer."""
        fields = {"content_length": str(len(body)), **headers}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        head = "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""])
        self.send(head.encode("latin-1") + body)

    def chunked(self, *chunks: bytes, end: bool) -> None:
        """Send a chunked answer; without its end it is cut short."""
        self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for chunk in chunks:
            self.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if end:
            self.send(b"0\r\n\r\n")

    def hang(self) -> None:
        """Say nothing until the test is over."""
        self.stop.wait(30)


class HangUp(Exception):  # noqa: N818
    """Raised by a behaviour: close the connection now."""


class Server:
    """Serves one behaviour on 127.0.0.1, a thread a connection."""

    def __init__(self, behave: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._context = context
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.seen: list[Exchange] = []

    @property
    def host(self) -> str:
        """Return what a partner file would name."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock, sock.makefile("rb") as stream:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while not self._stop.is_set():
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        line = stream.readline()
                        if not line:
                            return
                        head += line
                    length = 0
                    for field in head.lower().split(b"\r\n"):
                        if field.startswith(b"content-length:"):
                            length = int(field.split(b":")[1])
                    exchange = Exchange(sock, head[:-4], stream.read(length), self._stop)
                    self.seen.append(exchange)
                    self._behave(exchange)
        except (OSError, HangUp):
            sock.close()
