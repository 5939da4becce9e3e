"""Answers of many-call requests, kept until the request's files stand.

One file an answer, raw, zstd, ``<key>.<try>.<attempt>.<step>.zst``, durable when `Spool.write`
returns. Every try has a name of its own: a process that was stopped and wakes, or a write that
failed and comes late, replaces nothing. The step record in the ledger names it with its size and
checksum. Used by a worker's store threads.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from reportd.errors import UnexpectedAnswerError
from reportd.model.content import (
    CHUNK_BYTES,
    IN_MEMORY_BYTES,
    Content,
    Scratch,
    chunks_of,
    collected,
    head_of,
    opened,
)
from reportd.sinks.folders import output_errors
from reportd.sinks.store import Answers, stage_key

_SIZE_BYTES = 8
_KEPT = "u"
"""Begins the keys of answers that nobody understood: no request's id does."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One durable answer."""

    file: str
    """Relative to the spool."""
    size_bytes: int
    checksum: str


class _HasAnswers(Protocol):
    @property
    def answers(self) -> Answers: ...


class Spool:
    """The spool of one store."""

    def __init__(self, store: _HasAnswers) -> None:
        """Take the store whose files it lies in."""
        self._answers = store.answers

    def write(
        self, request_id: str, replay: int, attempt: int, step: int, body: Content
    ) -> Spooled:
        """Store one answer durably; the same again gets another name. Raises `OutputError`."""
        key = stage_key(request_id, replay)
        with output_errors("TMPDIR"):
            data = _packed(body)
        file = self._answers.put(key, f"{secrets.token_hex(4)}.{attempt}.{step}.zst", data)
        return Spooled(file, len(data), _checksum(data))

    def fits(self, file: str, size_bytes: int, checksum: str) -> bool:
        """Say whether a spool file is there, whole. Raises `OutputError`."""
        data = self._answers.get(file)
        return data is not None and len(data) == size_bytes and _checksum(data) == checksum

    def read(self, file: str, checksum: str) -> Content:
        """Return an answer.

        Raises `OutputError`; `UnexpectedAnswerError` when it is gone or damaged: its request
        starts over.
        """
        data = self._answers.get(file)
        if data is None or _checksum(data) != checksum:
            raise UnexpectedAnswerError(f"spool {file}: gone or damaged; the request starts over")
        return _unpacked(data)

    def keep(self, request_id: str, replay: int, body: bytes) -> str:
        """Keep an answer that nobody understood, for people: plain zstd, until it is swept by age.

        Of several of one life of a request one is kept. Returns its place below the root.
        """
        key = f"{_KEPT}{stage_key(request_id, replay)}"
        data = pa.compress(body, codec="zstd", asbytes=True)
        return f"_reportd/spool/{self._answers.put(key, 'answer.zst', data)}"

    def remove(self, request_id: str, replay: int) -> None:
        """Delete a request's answers; those gone already are fine. Raises `OutputError`."""
        self._answers.remove(stage_key(request_id, replay))

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """Remove old answers but for keys that ``is_open``; return how many. ``now``: epoch's."""
        return self._answers.sweep(older_than_seconds, now, is_open)


def _packed(body: Content) -> Content:
    size = len(body).to_bytes(_SIZE_BYTES)
    if isinstance(body, bytes):
        return size + bytes(pa.compress(body, codec="zstd", asbytes=True))
    packed = Scratch()
    packed.append(size)
    with pa.CompressedOutputStream(pa.PythonFile(packed.appender(), mode="w"), "zstd") as stream:
        for chunk in chunks_of(body):
            stream.write(chunk)
    return packed


def _unpacked(data: Content) -> Content:
    size = int.from_bytes(head_of(data, _SIZE_BYTES))
    if isinstance(data, bytes) and size <= IN_MEMORY_BYTES:
        body: bytes = pa.decompress(
            data[_SIZE_BYTES:], decompressed_size=size, codec="zstd", asbytes=True
        )
        return body
    with opened(data) as file:
        file.seek(_SIZE_BYTES)
        with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as stream:
            return collected(iter(lambda: stream.read(CHUNK_BYTES), b""))


def _checksum(data: Content) -> str:
    digest = hashlib.sha256()
    for chunk in chunks_of(data):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
