"""What networks, proxies and partners do to an answer, by a seed."""

import gzip
import io
import zipfile
from collections.abc import Callable, Sequence
from random import Random

TOKENS = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x1f\x8b\x08",
    b"PK\x03\x04",
    b"PK\x05\x06" + bytes(18),
    b'"',
    b'""',
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b",",
    b",,",
    b"\n",
    b"\r",
    b"\r\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[]",
    b"{}",
    b"[" * 3000,
    b'{"a":' * 1500,
    b"null",
    b"true",
    b"-",
    b"--",
    b"0x10",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"0." + b"1" * 60,
    b"2024-02-30",
    b"9999999999999",
    b"%",
    b"\xe2\x80\xaf",
    b"<!DOCTYPE html>",
    b"<html>",
    b'{"error":{"code":429}}',
    b"x" * 70_000,
)

Damage = Callable[[bytes, Random, Sequence[bytes]], bytes]


def _at(data: bytes, random: Random) -> int:
    return random.randrange(len(data) + 1)


def _range(data: bytes, random: Random) -> tuple[int, int]:
    start = _at(data, random)
    return start, min(len(data), start + random.choice((1, 2, 5, 30, 300, 3000)))


def flip(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Change one bit."""
    at = _at(data, random)
    wrong = bytes(one ^ 1 << random.randrange(8) for one in data[at : at + 1])
    return data[:at] + wrong + data[at + 1 :]


def put(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Put something in, or in place of something."""
    start, end = _range(data, random)
    return data[:start] + random.choice(TOKENS) + data[random.choice((start, end)) :]


def drop(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Leave some bytes out."""
    start, end = _range(data, random)
    return data[:start] + data[end:]


def repeat(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Say something twice, or often."""
    start, end = _range(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 40)) + data[end:]


def move(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Say something elsewhere."""
    start, end = _range(data, random)
    rest = data[:start] + data[end:]
    at = _at(rest, random)
    return rest[:at] + data[start:end] + rest[at:]


def cut(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """End too early, or begin too late."""
    at = _at(data, random)
    return random.choice((data[:at], data[:at], data[at:]))


def splice(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Go on with another answer."""
    other = random.choice(others)
    return data[: _at(data, random)] + other[_at(other, random) :]


def pack(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Wrap it."""
    match random.randrange(4):
        case 0:
            return gzip.compress(data, 1, mtime=0)
        case 1:
            return data.decode("utf-8", "replace").encode("utf-16")
        case 2:
            return b"\xef\xbb\xbf" + data
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(random.choice((1, 1, 3))):
            archive.writestr(zipfile.ZipInfo(f"{number}.csv"), data)
    return out.getvalue()


KINDS: Sequence[Damage] = (flip, flip, put, put, put, drop, repeat, move, cut, splice, pack)
TO_PACKED: Sequence[Damage] = (flip, flip, flip, drop, move, cut)
PACKED_SHARE = 0.2
"""How often an answer is packed behind all else, and then damaged again."""


def damaged(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Return an answer after one to seven accidents."""
    for _ in range(random.choice((1, 1, 2, 3, 5))):
        data = random.choice(KINDS)(data, random, others)[:1_000_000]
    if random.random() < PACKED_SHARE:
        data = pack(data, random, others)
        for _ in range(random.choice((0, 1, 2))):
            data = random.choice(TO_PACKED)(data, random, others)
    return data
