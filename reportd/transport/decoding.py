"""Undoing compression, never beyond a limit. Pure."""

import zlib
from collections.abc import Iterable, Iterator

GZIP_MAGIC = b"\x1f\x8b\x08"
_STEP_BYTES = 4 * 1024 * 1024


class TooLargeError(ValueError):
    """More bytes than allowed come out."""


class CutShortError(ValueError):
    """The compressed data ends too early."""


def inflate(data: bytes, limit_bytes: int, *, raw_deflate: bool = False) -> bytes:
    """Return what a gzip (any number of members) or zlib stream holds; raises like `inflated`."""
    return b"".join(inflated((data,), limit_bytes, raw_deflate=raw_deflate))


def inflated(
    chunks: Iterable[bytes], limit_bytes: int, *, raw_deflate: bool = False
) -> Iterator[bytes]:
    """Yield what a gzip (any number of members) or zlib stream holds, in pieces.

    Raises `TooLargeError` before more than ``limit_bytes`` come out, `CutShortError`, and
    ``ValueError`` for anything else that is wrong.
    """
    window = -zlib.MAX_WBITS if raw_deflate else zlib.MAX_WBITS | 32
    source = iter(chunks)
    rest = next(source, b"")
    size = 0
    while rest:
        machine = zlib.decompressobj(window)
        while not machine.eof:
            most = min(_STEP_BYTES, limit_bytes - size + 1)
            try:
                part = machine.decompress(rest, most)
            except zlib.error as error:
                raise ValueError(f"not decompressible: {error}") from None
            rest = machine.unconsumed_tail
            size += len(part)
            if size > limit_bytes:
                raise TooLargeError(f"more than {limit_bytes} bytes after decompression")
            if part:
                yield part
            elif not (rest or machine.eof):
                rest = next(source, b"")
                if not rest:
                    raise CutShortError("the compressed data is cut short")
        rest = machine.unused_data
        while len(rest) < len(GZIP_MAGIC) and (more := next(source, b"")):
            rest += more
        if not rest.startswith(GZIP_MAGIC):
            break  # padding or garbage after the end: gzip(1) ignores it, too


def without_encoding(chunks: Iterable[bytes], encoding: str, limit_bytes: int) -> Iterator[bytes]:
    """Yield a body without its Content-Encoding, in pieces; raises like `inflated`."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        yield from chunks
        return
    if name not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"unknown Content-Encoding {name[:20]!r}")
    source = iter(chunks)
    head = next(source, b"")
    if head:
        # Some send deflate as the standard says, in zlib's frame, some without one
        raw = name == "deflate" and not _has_frame(head)
        yield from inflated(_with_head(head, source), limit_bytes, raw_deflate=raw)


def _has_frame(head: bytes) -> bool:
    """Say whether data begins as zlib's, or gzip's, own frame does."""
    if head.startswith(GZIP_MAGIC):
        return True
    return len(head) > 1 and head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0


def _with_head(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
