"""An answer without its wrappings: gzip, ZIP, byte order mark and foreign characters.

What is small is bytes; what is not is read anew, piece by piece, by everyone who wants it. Pure but
for the scratch file that a large ZIP within another file needs.
"""

import codecs
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from io import BufferedIOBase

from reportd.errors import NoRoomError, UnexpectedAnswerError
from reportd.model.content import (
    CHUNK_BYTES,
    IN_MEMORY_BYTES,
    Content,
    chunks_of,
    collected,
    opened,
)
from reportd.transport.decoding import GZIP_MAGIC, CutShortError, inflated

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
MEMBERS_MOST = 10_000
_LAYERS_MOST = 3
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22
_ZIP64_END = b"PK\x06\x06"
_ZIP64_END_BYTES = 56
_LIST_MOST_BYTES = 4 * 1024 * 1024
_NOT_OURS = ("__MACOSX/",)
"""What some systems add to a ZIP."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NOT_WHOLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    OverflowError,
    IndexError,
)
"""What `zipfile` raises for damaged ones (NotImplementedError is a RuntimeError)."""


class BrokenAnswerError(UnexpectedAnswerError):
    """The answer is no data, or cut short: worth asking again."""


Chunks = Callable[[], Iterator[bytes]]
"""Reads something from its beginning."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an answer, as UTF-8."""

    data: bytes | None
    """All of it, where it is small."""
    chunks: Chunks

    def head(self, size: int) -> bytes:
        """Return its first bytes; raises `UnexpectedAnswerError`."""
        if self.data is not None:
            return self.data[:size]
        head = b""
        for chunk in self.chunks():
            head += chunk
            if len(head) >= size:
                break
        return head[:size]

    def whole(self) -> bytes:
        """Return all of it, however much that is; raises `UnexpectedAnswerError`."""
        return b"".join(self.chunks()) if self.data is None else self.data


def plain(data: bytes) -> Part:
    """Return bytes that have no wrapping as a part."""
    return Part(data, partial(chunks_of, data))


def unpack(content: Content, members: str, encoding: str, limit_bytes: int) -> list[Part]:
    """Return the files that an answer is, in the order of their names; mostly it is one.

    Raises `UnexpectedAnswerError`, and `BrokenAnswerError` when it is not whole.
    """
    if isinstance(content, bytes) and len(content) <= IN_MEMORY_BYTES:
        head = content[:4]
        if not head.startswith((GZIP_MAGIC, *ZIP_MAGICS, *_UTF16_BOMS)) and encoding == "utf-8":
            return [plain(content.removeprefix(codecs.BOM_UTF8))]
    found = _files(partial(chunks_of, content), content, members, limit_bytes, 0)
    return [_part(partial(_text, chunks, encoding)) for chunks in found]


def _part(chunks: Chunks) -> Part:
    """Read a small one now."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks():
        held.append(chunk)
        size += len(chunk)
        if size > IN_MEMORY_BYTES:
            return Part(None, chunks)
    return plain(b"".join(held)) if held else plain(b"")


def _files(
    chunks: Chunks, content: Content | None, members: str, limit_bytes: int, layers: int
) -> Iterator[Chunks]:
    """Yield what is in all wrappings. ``content``: what ``chunks`` reads, where that can seek."""
    source = chunks()
    head = b""
    while len(head) < 4 and (chunk := next(source, b"")):
        head += chunk[:4]
    is_zip = head.startswith(ZIP_MAGICS)
    if not is_zip and not head.startswith(GZIP_MAGIC):
        yield chunks
        return
    if layers == _LAYERS_MOST:
        raise UnexpectedAnswerError(f"packed more than {_LAYERS_MOST} times")
    if not is_zip:
        inner = partial(_gzip, chunks, limit_bytes)
        yield from _files(inner, None, members, limit_bytes, layers + 1)
        return
    archive = _held(chunks()) if content is None else content
    for member in _members(archive, members, limit_bytes):
        reader = partial(_member, archive, member)
        yield from _files(reader, None, members, limit_bytes, layers + 1)


def _held(chunks: Iterator[bytes]) -> Content:
    try:
        return collected(chunks)
    except OSError as error:
        raise NoRoomError(f"TMPDIR has no room for it: {error.strerror}") from error


def _gzip(chunks: Chunks, limit_bytes: int) -> Iterator[bytes]:
    try:
        yield from inflated(chunks(), limit_bytes)
    except CutShortError as error:
        raise BrokenAnswerError(str(error)) from None
    except ValueError as error:
        raise UnexpectedAnswerError(str(error)) from None


def _members(archive: Content, pattern: str, limit_bytes: int) -> list[zipfile.ZipInfo]:
    with opened(archive) as file:
        _check_list(file, len(archive))
        try:
            with zipfile.ZipFile(file) as zipped:
                found = zipped.infolist()
        except _NOT_WHOLE as error:
            what = type(error).__name__
            raise BrokenAnswerError(f"a ZIP that is not whole: {what}") from None
    wanted = sorted(
        (
            one
            for one in found
            if one.filename  # damaged ones may have none
            and not one.is_dir()
            and not one.filename.startswith(_NOT_OURS)
            and fnmatchcase(one.filename, pattern)
        ),
        key=lambda one: one.filename,
    )
    if not wanted:
        names = ", ".join(repr(one.filename[:60]) for one in found[:3])
        holds = f": {names}" if names else ""
        raise UnexpectedAnswerError(
            f"no file like {pattern!r} among {len(found)} of the ZIP{holds}"
        )
    if any(one.compress_type not in _METHODS or one.flag_bits & 1 for one in wanted):
        raise UnexpectedAnswerError("a file of the ZIP is encrypted, or packed in a rare way")
    if sum(one.file_size for one in wanted) > limit_bytes:
        raise UnexpectedAnswerError(f"more than {limit_bytes} bytes after decompression")
    return wanted


def _check_list(file: BufferedIOBase, size: int) -> None:
    """Look how long the list of members is, before anything is made of it."""
    start = max(0, size - 65_536 - _ZIP_END_BYTES)
    file.seek(start)
    tail = file.read(size - start)
    at = tail.rfind(_ZIP_END)
    if at < 0 or len(tail) - at < _ZIP_END_BYTES:
        raise BrokenAnswerError("a ZIP that is cut short")
    count, length = struct.unpack_from("<HI", tail, at + 10)
    long = tail.rfind(_ZIP64_END, 0, at)
    if long >= 0 and at - long >= _ZIP64_END_BYTES:
        count = max(count, struct.unpack_from("<Q", tail, long + 32)[0])
        length = max(length, struct.unpack_from("<Q", tail, long + 40)[0])
        length = length if length != 0xFFFFFFFF else 0
    if count > MEMBERS_MOST or length > _LIST_MOST_BYTES:
        raise UnexpectedAnswerError(f"a ZIP of more than {MEMBERS_MOST} files")


def _member(archive: Content, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with opened(archive) as file:
        try:
            with zipfile.ZipFile(file) as zipped, zipped.open(member) as unpacked:
                while chunk := unpacked.read(CHUNK_BYTES):
                    yield chunk
        except _NOT_WHOLE as error:
            what = type(error).__name__
            raise BrokenAnswerError(f"a ZIP that is not whole: {what}") from None


def _text(chunks: Chunks, encoding: str) -> Iterator[bytes]:
    """Yield UTF-8 without a byte order mark; one of UTF-16 is obeyed, whatever was declared."""
    source = chunks()
    head = b""
    while len(head) < 3 and (chunk := next(source, b"")):
        head += chunk
    if head.startswith(_UTF16_BOMS):
        encoding = "utf-16"
    if encoding == "utf-8":
        yield head.removeprefix(codecs.BOM_UTF8)
        yield from source
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield _utf8(decoder.decode(head)).removeprefix(codecs.BOM_UTF8)
        for chunk in source:
            yield _utf8(decoder.decode(chunk))
        yield _utf8(decoder.decode(b"", final=True))
    except UnicodeError:
        raise UnexpectedAnswerError(f"not {encoding} text") from None


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
