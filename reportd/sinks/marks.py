"""What a `LocalStore` says of runs and days: ``_reportd/runs/`` and ``_reportd/days/``.

Beside the data, not in it: DuckDB's globs read names with ``_``. Written by the observer, with the
permissions of the data. Used through `OutputRoot.marks`.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from reportd.model.content import Content, chunks_of
from reportd.sinks.folders import (
    Folders,
    give_name_once,
    open_to_read,
    output_errors,
    remove,
    write_file,
)
from reportd.sinks.staging import OWN, READ_BYTES, STAGING


class LocalMarks:
    """See `reportd.sinks.store.Marks`."""

    def __init__(self, folders: Folders) -> None:
        """Share the store's folders."""
        self._folders = folders

    def create(self, name: str, data: bytes) -> bool:
        """See `Marks.create`: a link, which is made once, to a file that is complete."""
        with output_errors(name), self._staged(data) as (staging, temp):
            folder, last = self._folder_of(name, make=True)
            try:
                created = give_name_once(staging, temp, folder, last)
                os.fsync(folder)
                return created
            finally:
                os.close(folder)

    def replace(self, name: str, data: Content) -> None:
        """See `Marks.replace`."""
        with output_errors(name), self._staged(data) as (staging, temp):
            folder, last = self._folder_of(name, make=True)
            try:
                os.rename(temp, last, src_dir_fd=staging, dst_dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)

    def read(self, name: str) -> bytes | None:
        """See `Marks.read`."""
        with output_errors(name):
            file = self._opened(name)
            if file is None:
                return None
            with file:
                return file.read()

    def chunks(self, name: str) -> Iterator[bytes]:
        """See `Marks.chunks`."""
        with output_errors(name):
            file = self._opened(name)
            if file is None:
                return
            with file:
                while chunk := file.read(READ_BYTES):
                    yield chunk

    def remove(self, name: str) -> None:
        """See `Marks.remove`."""
        with output_errors(name):
            try:
                folder, last = self._folder_of(name)
            except FileNotFoundError:
                return
            try:
                remove(folder, last)
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _staged(self, data: Content) -> Iterator[tuple[int, str]]:
        """Give a complete file in staging: the folder's descriptor and the name."""
        staging = self._folders.open(*STAGING)
        temp = f"marks.{secrets.token_hex(8)}.tmp"
        try:
            write_file(self._folders, staging, temp, chunks_of(data))
            yield staging, temp
        finally:
            with suppress(OSError):
                remove(staging, temp)
            os.close(staging)

    def _opened(self, name: str) -> BinaryIO | None:
        try:
            folder, last = self._folder_of(name)
        except FileNotFoundError:
            return None
        try:
            descriptor = open_to_read(last, folder)
        finally:
            os.close(folder)
        return None if descriptor is None else os.fdopen(descriptor, "rb")

    def _folder_of(self, name: str, *, make: bool = False) -> tuple[int, str]:
        *parents, last = name.split("/")
        return self._folders.open(OWN, *parents, make=make), last
