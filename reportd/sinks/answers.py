"""Where a `LocalStore` keeps the spool: ``_reportd/spool/<a>/<key>.<name>``.

Temp file (of every try its own), fsync, rename, fsync of the folder. Used by `reportd.sinks.spool`.
"""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress

from reportd.model.content import Content, chunks_of, collected
from reportd.sinks.folders import (
    Folders,
    names_in,
    open_to_read,
    output_errors,
    remove,
    sweep_folder,
    write_file,
)
from reportd.sinks.staging import READ_BYTES

SPOOL = ("_reportd", "spool")
_ENDINGS = (".zst", ".tmp")


class LocalAnswers:
    """See `reportd.sinks.store.Answers`."""

    def __init__(self, folders: Folders) -> None:
        """Share the store's folders."""
        self._folders = folders

    def put(self, key: str, name: str, data: Content) -> str:
        """See `Answers.put`."""
        name = f"{key}.{name}"
        with output_errors(f"spool {name}"):
            folder = self._folders.open(*SPOOL, key[0], make=True)
            try:
                temp = f"{key}.{secrets.token_hex(4)}.tmp"
                try:
                    write_file(self._folders, folder, temp, chunks_of(data))
                    os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
                except OSError:
                    with suppress(OSError):  # or each further try on a full disk leaves another one
                        remove(folder, temp)
                    raise
                os.fsync(folder)
            finally:
                os.close(folder)
        return f"{key[0]}/{name}"

    def get(self, file: str) -> Content | None:
        """See `Answers.get`."""
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
                return None if descriptor is None else _content(descriptor)
            finally:
                os.close(folder)

    def remove(self, key: str) -> None:
        """See `Answers.remove`."""
        with output_errors(f"spool {key}"), suppress(FileNotFoundError):
            folder = self._folders.open(*SPOOL, key[0])
            try:
                for name in names_in(folder):
                    if name.startswith(f"{key}."):
                        remove(folder, name)
            finally:
                os.close(folder)

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """See `Answers.sweep`."""
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
                    removed += sweep_folder(folder, now - older_than_seconds, is_open, _ENDINGS)
                finally:
                    os.close(folder)
        return removed


def _content(descriptor: int) -> Content:
    """Read a file and close it; a large one is copied, so that it can go meanwhile."""
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return collected(iter(lambda: file.read(READ_BYTES), b""))
