"""Decompression and its limits."""

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.transport.decoding import (
    CutShortError,
    TooLargeError,
    inflate,
    inflated,
    without_encoding,
)


def undo_content_encoding(data: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Undo it for data that came at once."""
    return b"".join(without_encoding((data,), encoding, limit_bytes))


@given(st.binary(max_size=2000))
def test_gzip_round_trip(data: bytes) -> None:
    """What gzip packed comes out, exactly up to the limit."""
    assert inflate(gzip.compress(data), len(data)) == data


def test_members_follow_each_other() -> None:
    """A gzip file may have several members; garbage after the last is ignored, as by gzip."""
    assert inflate(gzip.compress(b"ab") + gzip.compress(b"cd") + b"\0\0", 100) == b"abcd"


def test_a_bomb_is_stopped_at_the_limit() -> None:
    """A gigabyte of zeros in a megabyte never comes to be."""
    bomb = gzip.compress(bytes(50_000_000))

    with pytest.raises(TooLargeError):
        inflate(bomb, 1_000_000)


def test_members_share_one_limit() -> None:
    """Many members are no way around the limit."""
    with pytest.raises(TooLargeError):
        inflate(gzip.compress(bytes(600)) * 2, 1000)


@pytest.mark.parametrize("cut", [1, 4, 9, 30])
def test_a_cut_stream_is_told_apart(cut: int) -> None:
    """Half an answer is asked for again, a wrong one is not."""
    packed = gzip.compress(bytes(range(256)) * 10)

    with pytest.raises(CutShortError):
        inflate(packed[:-cut], 10_000)


def test_a_wrong_checksum_is_an_error() -> None:
    """The checksum is looked at."""
    packed = bytearray(gzip.compress(b"hello"))
    packed[-6] ^= 1

    with pytest.raises(ValueError, match="not decompressible"):
        inflate(bytes(packed), 100)


@given(st.binary(max_size=300))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    """Whatever comes, nothing but ValueError comes out of it."""
    with contextlib.suppress(ValueError):
        inflate(b"\x1f\x8b\x08" + data, 1000)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", " gzip "])
def test_content_encoding_gzip(encoding: str) -> None:
    """Names of encodings have no case."""
    assert undo_content_encoding(gzip.compress(b"x"), encoding, 10) == b"x"


def test_content_encoding_deflate_in_both_dialects() -> None:
    """Servers send deflate with and without zlib's header."""
    raw = zlib.compressobj(wbits=-15)

    assert undo_content_encoding(zlib.compress(b"abc"), "deflate", 10) == b"abc"
    assert undo_content_encoding(raw.compress(b"abc") + raw.flush(), "deflate", 10) == b"abc"


def test_unknown_content_encoding() -> None:
    """What was not asked for is refused."""
    with pytest.raises(ValueError, match="unknown Content-Encoding 'br'"):
        undo_content_encoding(b"x", "br", 10)


def test_no_body_needs_no_decoding() -> None:
    """A 204 may still name an encoding."""
    assert undo_content_encoding(b"", "gzip", 10) == b""


@given(st.binary(max_size=500), st.integers(1, 7))
def test_pieces_are_as_good_as_the_whole(data: bytes, size: int) -> None:
    """However the network cut it, even within the next member's first bytes."""
    packed = gzip.compress(data) + gzip.compress(b"end")
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]

    assert b"".join(inflated(pieces, 1000)) == data + b"end"


@pytest.mark.parametrize("size", [1, 1000])
def test_a_cut_in_pieces_is_told_apart(size: int) -> None:
    """What ends too early in its last piece ended too early."""
    packed = gzip.compress(bytes(range(256)))[:-3]
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]

    with pytest.raises(CutShortError):
        list(inflated(pieces, 1000))
