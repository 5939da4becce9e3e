"""Objects of a bucket below one prefix, by pyarrow's S3 file system.

What pyarrow cannot do comes through `Calls`. The AWS SDK starts with the first `Objects`: in the
child that uses it, after the fork (importing `pyarrow.fs` starts nothing). Every request is bounded
in time; what fails is an `OutputError`.

A stream of pyarrow that fails is completed all the same when it is let go of: it leaves an empty
object, or a part, under the name it writes to, even some seconds later. So `write` is never used
for a final name, nor twice for any; final names come about by `copy` alone, which is one request.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import fs

from reportd.config.settings import S3_SCHEME, S3_TRIES, S3Settings
from reportd.errors import OutputError
from reportd.sinks.formats import Chunk, read_footer
from reportd.sinks.receipts import Receipt
from reportd.sinks.staging import READ_BYTES

_TAIL_BYTES = 64 * 1024
_DAMAGED = "checksums mismatch"
_SAID = re.compile(r"AWS Error .*", re.DOTALL)


class DamagedError(OutputError):
    """An object is not what the server once took: its checksum is another."""


class Upload(Protocol):
    """A multipart upload under way, or left over."""

    @property
    def begun(self) -> float:
        """Epoch seconds."""
        ...


class Calls(Protocol):
    """What pyarrow's file system has no words for; keys are whole. Raises `OutputError`."""

    def put_if_absent(self, key: str, body: bytes) -> bool:
        """Write an object unless there is one; say whether it was written."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is gone already is fine."""
        ...

    def uploads(self, prefix: str) -> list[Any]:
        """Return the multipart uploads below a prefix, each an `Upload`."""
        ...

    def abort(self, upload: Any) -> None:
        """Give up an upload."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """An object in a listing."""

    key: str
    """Below the prefix."""
    written: float
    """Epoch seconds, the server's."""


class Objects:
    """The objects below ``s3://bucket/prefix``. Thread-safe; made after the fork."""

    def __init__(self, root: str, settings: S3Settings, calls: Calls) -> None:
        """Start the SDK; sends nothing yet."""
        # We have keys: nobody shall ask an address of a cloud for some
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        self.root = root
        bucket, _, prefix = root.removeprefix(S3_SCHEME).partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._base = f"{bucket}/{self._prefix}"
        self._calls = calls
        scheme, _, host = (settings.endpoint or "https://").partition("://")
        with _errors(root):
            self._files = fs.S3FileSystem(
                access_key=settings.access_key.reveal(),
                secret_key=settings.secret_key.reveal(),
                region=settings.region,
                scheme=scheme,
                endpoint_override=host or None,
                connect_timeout=settings.connect_timeout_seconds,
                request_timeout=settings.request_timeout_seconds,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=S3_TRIES),
                background_writes=False,
                allow_delayed_open=True,  # what is small is one request then
            )

    def open(self, key: str) -> Any:
        """Return an object to read from, or None: one request when there is none."""
        with _errors(key):
            try:
                return self._files.open_input_file(self._base + key)
            except FileNotFoundError:
                return None

    def read(self, key: str) -> bytes | None:
        """Return an object's content, or None when there is none, or a damaged one."""
        file = self.open(key)
        if file is None:
            return None
        try:
            return b"".join(self.chunks_of(file, key))
        except DamagedError:
            return None

    def chunks_of(self, file: Any, key: str) -> Iterator[bytes]:
        """Yield an open object's content, and close it; raises `DamagedError`, too."""
        with _errors(key), file:
            while chunk := file.read(READ_BYTES):
                yield chunk

    def receipt_in(self, file: Any, key: str) -> Receipt | None:
        """Return the receipt in the footer of an open Parquet file, which stays open."""
        try:
            with _errors(key):
                return read_footer(_Tail(file))
        except DamagedError:
            return None

    def write(self, key: str, chunks: Iterable[Chunk]) -> None:
        """Write an object; when it raises, anything may stand there: see above."""
        with _errors(key):
            stream = self._files.open_output_stream(self._base + key, compression=None)
            try:
                for chunk in chunks:
                    stream.write(chunk)
                stream.close()
            finally:
                # Here and now, whoever holds the traceback: a failed one sends a request more
                del stream

    def copy(self, key: str, target: str) -> None:
        """Put a copy in place of whatever has its name: all of it, or nothing."""
        with _errors(target):
            self._files.copy_file(self._base + key, self._base + target)

    def below(self, folder: str, *, recursive: bool = False) -> list[Found]:
        """List the objects in a folder; none when it is not there."""
        selector = fs.FileSelector(self._base + folder, allow_not_found=True, recursive=recursive)
        with _errors(folder):
            return [
                Found(one.path.removeprefix(self._base), one.mtime.timestamp())
                for one in self._files.get_file_info(selector)
                if one.type == fs.FileType.File
            ]

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object unless there is one; say whether it was written."""
        return self._calls.put_if_absent(self._prefix + key, data)

    def delete(self, key: str) -> None:
        """Delete an object; one that is gone already is fine."""
        self._calls.delete(self._prefix + key)

    def abort_uploads(self, folder: str, before: float) -> int:
        """Give up the multipart uploads that were begun before an instant; return how many."""
        left = [
            upload
            for upload in self._calls.uploads(f"{self._prefix}{folder}/")
            if upload.begun < before
        ]
        for upload in left:
            self._calls.abort(upload)
        return len(left)


class _Tail:
    """An object whose end is read at once: a footer costs one request, not three."""

    def __init__(self, file: Any) -> None:
        """Read the end; the object stays open."""
        self._file = file
        self._size = int(file.size())
        self._start = max(0, self._size - _TAIL_BYTES)
        self._data: bytes = file.read_at(self._size - self._start, self._start)
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place; return it, from the beginning."""
        self._at = offset + (self._size if whence == os.SEEK_END else 0)
        return self._at

    def read(self, size: int, /) -> bytes:
        """Return the bytes from there on."""
        begin = self._at - self._start
        data: bytes = (
            self._data[begin : begin + size] if begin >= 0 else self._file.read_at(size, self._at)
        )
        self._at += len(data)
        return data


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Translate what pyarrow raises for a bucket that does not do what it is asked."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        found = _SAID.search(said)
        kind = DamagedError if _DAMAGED in said else OutputError
        raise kind(f"{what}: {(found[0] if found else said)[:300]}") from error
