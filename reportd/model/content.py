"""What an answer holds: bytes, or, where memory should not hold it, a file without a name.

Made by the threads that call, read by those that store. A `Scratch` lies in ``TMPDIR`` and goes
with the last that holds it, and with its process at the latest: nothing is left to sweep.
"""

import errno
import io
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

IN_MEMORY_BYTES = 4 * 1024 * 1024
"""An answer that is longer is worked on in pieces, from a file."""

CHUNK_BYTES = 1024 * 1024


class Scratch:
    """A file without a name: appended to by one thread, then read by any. Raises OSError."""

    __slots__ = ("__weakref__", "_descriptor", "_size")

    def __init__(self) -> None:
        """Make an empty one; a ``TMPDIR`` that takes no file, for whatever reason, has no room."""
        try:
            with tempfile.TemporaryFile(buffering=0) as file:
                self._descriptor = os.dup(file.fileno())
        except OSError as error:  # a full disk makes tempfile say that there is no folder
            raise OSError(errno.ENOSPC, error.strerror) from error
        weakref.finalize(self, os.close, self._descriptor)
        self._size = 0

    def __len__(self) -> int:
        """Return its size in bytes."""
        return self._size

    def append(self, data: bytes | memoryview) -> None:
        """Write at its end."""
        left = memoryview(data)
        while left:
            written = os.pwrite(self._descriptor, left, self._size)
            self._size += written
            left = left[written:]

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the bytes from an offset on; fewer at the end."""
        return os.pread(self._descriptor, size, offset)

    def open(self) -> io.BufferedReader:
        """Return it as a file of its own position, for readers that seek."""
        return io.BufferedReader(_Reader(self), CHUNK_BYTES)

    def appender(self) -> io.RawIOBase:
        """Return it as a file that is written at its end."""
        return _Appender(self)


class _Appender(io.RawIOBase):
    def __init__(self, scratch: Scratch) -> None:
        super().__init__()
        self._scratch = scratch

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return len(self._scratch)

    def write(self, data: Any) -> int:
        before = len(self._scratch)
        self._scratch.append(bytes(data))
        return len(self._scratch) - before


class _Reader(io.RawIOBase):
    def __init__(self, scratch: Scratch) -> None:
        super().__init__()
        self._scratch = scratch
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = (0, self._position, len(self._scratch))[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._scratch.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


Content: TypeAlias = bytes | Scratch


def chunks_of(content: Content) -> Iterator[bytes]:
    """Yield a content from its beginning: bytes that are small at once. Raises OSError."""
    if isinstance(content, bytes) and len(content) <= IN_MEMORY_BYTES:
        yield content
        return
    for offset in range(0, len(content), CHUNK_BYTES):
        if isinstance(content, bytes):
            yield content[offset : offset + CHUNK_BYTES]
        else:
            yield content.read_at(offset, CHUNK_BYTES)


def head_of(content: Content, size: int) -> bytes:
    """Return the first bytes. Raises OSError."""
    return content[:size] if isinstance(content, bytes) else content.read_at(0, size)


def whole(content: Content) -> bytes:
    """Return all of it in memory. Raises OSError."""
    return content if isinstance(content, bytes) else b"".join(chunks_of(content))


def opened(content: Content) -> io.BufferedIOBase:
    """Return a content as a file that can be sought in."""
    return io.BytesIO(content) if isinstance(content, bytes) else content.open()


def collected(chunks: Iterable[bytes]) -> Content:
    """Return chunks as one content: in memory as long as it is small. Raises OSError."""
    held: list[bytes] = []
    size = 0
    rest = iter(chunks)
    for chunk in rest:
        held.append(chunk)
        size += len(chunk)
        if size > IN_MEMORY_BYTES:
            break
    else:
        return b"".join(held)
    scratch = Scratch()
    for chunk in held:
        scratch.append(chunk)
    held.clear()
    for chunk in rest:
        scratch.append(chunk)
    return scratch
