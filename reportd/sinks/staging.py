"""Complete files before their final names, in the staging folder of a `LocalStore`.

Every try has names of its own, so a process that was stopped and wakes cannot write into what
its successor stages. Used by workers, through `reportd.sinks.publish`.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from reportd.sinks.folders import (
    Folders,
    open_to_read,
    output_errors,
    read_small,
    remove,
    write_all,
)
from reportd.sinks.formats import Chunk, read_footer
from reportd.sinks.receipts import Receipt
from reportd.sinks.store import Guard

OWN = "_reportd"
STAGING = (OWN, "staging")
RECEIPTS = (OWN, "receipts")

READ_BYTES = 1024 * 1024
_TO_SYNC = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalStage:
    """One try's files in the staging folder; holds a descriptor of it until closed.

    Many wait side by side for the disk: so it holds no other descriptor, but for the folder that
    it gave the last name in.
    """

    def __init__(
        self,
        folders: Folders,
        folder: int,
        prefix: str,
        names: Iterable[str],
        receipt_beside: Callable[[str], Receipt | None],
    ) -> None:
        """Take the staging folder's descriptor, which this owns now, and what is there.

        ``receipt_beside`` reads the receipt in its final place of a file that is not Parquet.
        """
        self._folders = folders
        self._receipt_beside = receipt_beside
        self._folder = folder
        self._prefix = prefix
        self._unsynced: list[str] = []
        self._names = set(names)
        self._target: tuple[tuple[str, ...], int] | None = None
        self._renamed: dict[tuple[str, ...], int] = {}
        self._open = True

    def _name(self, path: str, ending: str) -> str:
        return f"{self._prefix}.{path_digest(path)[:32]}.{ending}"

    def write(self, receipt: Receipt, chunks: Iterable[Chunk]) -> Receipt:
        """Write one file and, unless it is Parquet, its receipt; see `Stage.write`."""
        checksum = hashlib.sha256()
        size = 0
        with output_errors(receipt.path):
            descriptor = self._create(self._name(receipt.path, "tmp"))
            try:
                for chunk in chunks:
                    write_all(descriptor, chunk)
                    checksum.update(chunk)
                    size += len(chunk)
                _begin_writing(descriptor)
            finally:
                os.close(descriptor)
            full = replace(receipt, size_bytes=size, checksum=f"sha256:{checksum.hexdigest()}")
            if receipt.format != "parquet":
                descriptor = self._create(self._name(receipt.path, "receipt"))
                try:
                    write_all(descriptor, full.to_json())
                finally:
                    os.close(descriptor)
        return full

    def _create(self, name: str) -> int:
        descriptor = self._folders.create(self._folder, name)
        self._unsynced.append(name)
        self._names.add(name)
        return descriptor

    def seal(self) -> None:
        """See `Stage.seal`: fsyncs what was written (all at once: the journal is shared)."""
        with output_errors("staging"):
            while self._unsynced:
                descriptor = os.open(self._unsynced[-1], _TO_SYNC, dir_fd=self._folder)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                self._unsynced.pop()

    def found(self, path: str, file_format: str) -> Receipt | None:
        """See `Stage.found`: checked in full, and fsynced (a kill may have come before that)."""
        with output_errors(path):
            descriptor = open_to_read(self._name(path, "tmp"), self._folder)
            if descriptor is None:
                return None
            try:
                receipt = self._receipt_of_temp(path, file_format, descriptor)
                if receipt is None or receipt.path != path:
                    return None
                full = fitting(receipt, chunks_of(descriptor))
                if full is not None:
                    os.fsync(descriptor)
                return full
            finally:
                os.close(descriptor)

    def _receipt_of_temp(self, path: str, file_format: str, descriptor: int) -> Receipt | None:
        if file_format == "parquet":
            with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
                return read_footer(file)
        beside = open_to_read(self._name(path, "receipt"), self._folder)
        if beside is not None:
            os.fsync(beside)
            return Receipt.from_json(read_small(beside))
        return self._receipt_beside(path)  # a kill came between the two renames

    def publish(self, receipt: Receipt, guard: Guard) -> None:
        """Rename the receipt (unless it is in the file), then the file; see `Stage.publish`."""
        guard()
        with output_errors(receipt.path):
            if receipt.format != "parquet":
                digest = path_digest(receipt.path)
                target = f"{digest}.receipt"
                with contextlib.suppress(FileNotFoundError):  # renamed before a kill
                    self._rename(receipt.path, "receipt", (*RECEIPTS, digest[:2]), target)
            *parts, name = receipt.path.split("/")
            self._rename(receipt.path, "tmp", tuple(parts), name)

    def _rename(self, path: str, ending: str, parts: tuple[str, ...], name: str) -> None:
        temp = self._name(path, ending)
        if self._target is None or self._target[0] != parts:
            self._close_target()
            self._target = (parts, self._folders.open(*parts, make=True))
        os.rename(temp, name, src_dir_fd=self._folder, dst_dir_fd=self._target[1])
        self._renamed[parts] = self._folders.mark()
        self._names.discard(temp)

    def _close_target(self) -> None:
        if self._target is not None:
            os.close(self._target[1])
            self._target = None

    def settle(self) -> None:
        """Fsync the folders of what was published, remove what was not, and close."""
        with output_errors("output"):
            for parts in list(self._renamed):
                self._folders.sync(parts, self._renamed[parts])
                del self._renamed[parts]
        self.discard()

    def discard(self) -> None:
        """Remove this try's files and close; what cannot be removed is left to the sweep."""
        if not self._open:
            return
        for name in self._names:
            with contextlib.suppress(OSError):
                remove(self._folder, name)
        self.close()

    def close(self) -> None:
        """Close the descriptors; the files stay for `LocalStore.stages`."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError):
            self._close_target()
        with contextlib.suppress(OSError):
            os.close(self._folder)


def _begin_writing(descriptor: int) -> None:
    """Let the disk begin: a later fsync waits for less, and several share the journal's turn."""
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def path_digest(path: str) -> str:
    """Return what stands for a final path in the names of staging and receipts."""
    return hashlib.sha256(path.encode()).hexdigest()[:40]


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """Yield a file's content from its beginning."""
    position = 0
    while chunk := os.pread(descriptor, READ_BYTES, position):
        yield chunk
        position += len(chunk)


def fitting(receipt: Receipt, chunks: Iterable[bytes]) -> Receipt | None:
    """Take a file's size and checksum; a receipt that states others does not fit."""
    checksum = hashlib.sha256()
    size = 0
    for chunk in chunks:
        checksum.update(chunk)
        size += len(chunk)
    text = f"sha256:{checksum.hexdigest()}"
    if receipt.format != "parquet" and (receipt.size_bytes, receipt.checksum) != (size, text):
        return None
    return replace(receipt, size_bytes=size, checksum=text)
