"""Undoing compression, never beyond a limit. Pure."""

import zlib

GZIP_MAGIC = b"\x1f\x8b\x08"
_STEP_BYTES = 4 * 1024 * 1024


class TooLargeError(ValueError):
    """More bytes than allowed come out."""


class CutShortError(ValueError):
    """The compressed data ends too early."""


def inflate(data: bytes, limit_bytes: int, *, raw_deflate: bool = False) -> bytes:
    """Return what a gzip (any number of members) or zlib stream holds.

    Raises `TooLargeError` before more than ``limit_bytes`` are in memory, `CutShortError`, and
    ``ValueError`` for anything else that is wrong.
    """
    out: list[bytes] = []
    size = 0
    rest = data
    while rest:
        machine = zlib.decompressobj(-zlib.MAX_WBITS if raw_deflate else zlib.MAX_WBITS | 32)
        while not machine.eof:
            try:
                part = machine.decompress(rest, min(_STEP_BYTES, limit_bytes - size + 1))
            except zlib.error as error:
                raise ValueError(f"not decompressible: {error}") from None
            rest = machine.unconsumed_tail
            size += len(part)
            if size > limit_bytes:
                raise TooLargeError(f"more than {limit_bytes} bytes after decompression")
            if not (part or rest or machine.eof):
                raise CutShortError("the compressed data is cut short")
            out.append(part)
        rest = machine.unused_data
        if not rest.startswith(GZIP_MAGIC):
            break  # padding or garbage after the end: gzip(1) ignores it, too
    return b"".join(out)


def undo_content_encoding(data: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Return a body without its Content-Encoding; raises like `inflate`."""
    name = encoding.strip().lower()
    if name in ("", "identity") or not data:
        return data
    if name in ("gzip", "x-gzip"):
        return inflate(data, limit_bytes)
    if name == "deflate":
        try:
            return inflate(data, limit_bytes)
        except (TooLargeError, CutShortError):
            raise
        except ValueError:
            return inflate(data, limit_bytes, raw_deflate=True)
    raise ValueError(f"unknown Content-Encoding {name[:20]!r}")
