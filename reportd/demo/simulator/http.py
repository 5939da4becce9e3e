"""The least HTTP/1.1 server that a partner needs: keep-alive, one question at a time.

Runs in the simulator's process, on its event loop. No chunked questions, no TLS; what is not HTTP
ends the connection.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

_MAX_HEAD_BYTES = 64 * 1024
_MAX_BODY_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Question:
    """One HTTP request, complete."""

    method: str
    path: str
    """Decoded."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)


class Connection(asyncio.Protocol):
    """One client's connection; hands each complete question to ``on_question``."""

    def __init__(self, on_question: Callable[["Connection", Question], None]) -> None:
        self._on_question = on_question
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._waiting: deque[Question] = deque()
        self._busy = False
        self.on_lost: Callable[[], None] | None = None
        """Called once if the client goes before its answer was sent."""

    @property
    def open(self) -> bool:
        """Whether the client is still there."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect, and hand on what is complete."""
        self._data = self._data + data if self._data else data
        try:
            while (question := self._next()) is not None:
                self._waiting.append(question)
        except ValueError:
            self.reset()
            return
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever still prepares an answer."""
        del error
        self._transport = None
        self._waiting.clear()
        if self.on_lost is not None:
            on_lost, self.on_lost = self.on_lost, None
            on_lost()

    def send(self, answer: bytes, *, end: str = "keep") -> bool:
        """Send an answer, then ``keep``, ``close`` or ``reset``; False: the client had gone."""
        self.on_lost = None
        if self._transport is None or self._transport.is_closing():
            return False
        if end == "reset":
            self.reset()
            return False
        if answer:
            self._transport.write(answer)
        if end == "close":
            self._transport.close()
            return True
        self._busy = False
        if self._waiting:
            self._go_on()
        return True

    def reset(self) -> None:
        """End the connection with a reset (RST)."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self._on_question(self, self._waiting.popleft())

    def _next(self) -> Question | None:
        data = self._data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _MAX_HEAD_BYTES:
                raise ValueError("head too long")
            return None
        lines = data[:end].decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= _MAX_BODY_BYTES:
            raise ValueError("body too long")
        body_end = end + 4 + length
        if len(data) < body_end:
            return None
        self._data = data[body_end:]
        path, _, query = target.partition("?")
        return Question(
            method,
            unquote(path) if "%" in path else path,
            dict(parse_qsl(query, keep_blank_values=True)),
            headers,
            data[end + 4 : body_end],
        )
