"""Answers of many-call requests, kept until the request's files stand.

One file an answer, raw, zstd: ``_reportd/spool/<a>/<key>.<attempt>.<step>.zst``; temp file, fsync,
rename, fsync of the folder. The step record in the ledger names it with its size and checksum.
Used by a worker's store threads.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from reportd.errors import UnexpectedAnswerError
from reportd.sinks.folders import (
    names_in,
    open_to_read,
    output_errors,
    read_small,
    remove,
    sweep_folder,
    write_all,
)
from reportd.sinks.local import LocalStore
from reportd.sinks.staging import OWN
from reportd.sinks.store import stage_key

SPOOL = (OWN, "spool")
_SIZE_BYTES = 8
_MOST_BYTES = 1 << 32
ENDINGS = (".zst", ".zst.tmp")


@dataclass(frozen=True, slots=True)
class Spooled:
    """One durable answer."""

    file: str
    """Relative to the spool."""
    size_bytes: int
    checksum: str


class Spool:
    """The spool of one store."""

    def __init__(self, store: LocalStore) -> None:
        """Share the store's folders."""
        self._folders = store.folders

    def write(self, request_id: str, replay: int, attempt: int, step: int, body: bytes) -> Spooled:
        """Store one answer durably; writing the same again replaces it. Raises `OutputError`."""
        key = stage_key(request_id, replay)
        name = f"{key}.{attempt}.{step}.zst"
        data = len(body).to_bytes(_SIZE_BYTES) + pa.compress(body, codec="zstd", asbytes=True)
        with output_errors(f"spool {name}"):
            folder = self._folders.open(*SPOOL, key[0], make=True)
            try:
                temp = f"{name}.tmp"
                remove(folder, temp)
                descriptor = self._folders.create(folder, temp)
                try:
                    write_all(descriptor, data)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)
        return Spooled(f"{key[0]}/{name}", len(data), _checksum(data))

    def fits(self, file: str, size_bytes: int, checksum: str) -> bool:
        """Say whether a spool file is there, whole. Raises `OutputError`."""
        data = self._data(file)
        return data is not None and len(data) == size_bytes and _checksum(data) == checksum

    def read(self, file: str, checksum: str) -> bytes:
        """Return an answer.

        Raises `OutputError`; `UnexpectedAnswerError` when it is gone or damaged: its request
        starts over.
        """
        data = self._data(file)
        if data is None or _checksum(data) != checksum:
            raise UnexpectedAnswerError(f"spool {file}: gone or damaged; the request starts over")
        size = int.from_bytes(data[:_SIZE_BYTES])
        body: bytes = pa.decompress(
            data[_SIZE_BYTES:], decompressed_size=size, codec="zstd", asbytes=True
        )
        return body

    def remove(self, request_id: str, replay: int) -> None:
        """Delete a request's answers; those gone already are fine. Raises `OutputError`."""
        key = stage_key(request_id, replay)
        with output_errors(f"spool {key}"), suppress(FileNotFoundError):
            folder = self._folders.open(*SPOOL, key[0])
            try:
                for name in names_in(folder):
                    if name.startswith(f"{key}."):
                        remove(folder, name)
            finally:
                os.close(folder)

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """Remove old answers but for keys that ``is_open``; return how many. ``now``: epoch's."""
        removed = 0
        with output_errors("spool"), suppress(FileNotFoundError):
            spool = self._folders.open(*SPOOL)
            try:
                shards = names_in(spool)
            finally:
                os.close(spool)
            for shard in shards:
                folder = self._folders.open(*SPOOL, shard)
                try:
                    removed += sweep_folder(folder, now - older_than_seconds, is_open, ENDINGS)
                finally:
                    os.close(folder)
        return removed

    def _data(self, file: str) -> bytes | None:
        parts = file.split("/")
        if len(parts) != 2 or not all(part.strip(".") for part in parts):
            return None
        with output_errors(f"spool {file}"):
            try:
                folder = self._folders.open(*SPOOL, parts[0])
            except FileNotFoundError:
                return None
            try:
                descriptor = open_to_read(parts[1], folder)
                return None if descriptor is None else read_small(descriptor, _MOST_BYTES)
            finally:
                os.close(folder)


def _checksum(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
