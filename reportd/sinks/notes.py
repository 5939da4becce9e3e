"""Where a `LocalStore` keeps notes that reportd alone may read: ``_reportd/tokens/<name>``.

Whatever the modes of other folders, these files are their owner's. Used through `OutputRoot.notes`.
"""

import os
import secrets
from contextlib import suppress

from reportd.sinks.folders import (
    Folders,
    names_in,
    open_to_read,
    output_errors,
    read_small,
    remove,
    write_all,
)

NOTES = ("_reportd", "tokens")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class LocalNotes:
    """See `reportd.sinks.store.Notes`."""

    def __init__(self, folders: Folders) -> None:
        """Share the store's folders."""
        self._folders = folders

    def names(self, prefix: str) -> list[str]:
        """See `Notes.names`."""
        with output_errors("notes"):
            folder = self._open()
            try:
                return [name for name in names_in(folder) if name.startswith(prefix)]
            finally:
                os.close(folder)

    def create(self, name: str, data: bytes) -> bool:
        """See `Notes.create`: a link, which is made once, to a file that is complete."""
        with output_errors(f"note {name}"):
            folder = self._open()
            temp = f"{secrets.token_hex(8)}.tmp"
            try:
                descriptor = os.open(temp, _CREATE, 0o600, dir_fd=folder)
                try:
                    write_all(descriptor, data)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                try:
                    os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
                except FileExistsError:
                    return False
                os.fsync(folder)
                return True
            finally:
                with suppress(OSError):
                    remove(folder, temp)
                os.close(folder)

    def read(self, name: str) -> bytes | None:
        """See `Notes.read`."""
        with output_errors(f"note {name}"):
            folder = self._open()
            try:
                descriptor = open_to_read(name, folder)
                return None if descriptor is None else read_small(descriptor)
            finally:
                os.close(folder)

    def remove(self, name: str) -> None:
        """See `Notes.remove`."""
        with output_errors(f"note {name}"):
            folder = self._open()
            try:
                remove(folder, name)
            finally:
                os.close(folder)

    def _open(self) -> int:
        folder = self._folders.open(*NOTES, make=True)
        os.fchmod(folder, 0o700)
        return folder
