"""What answers are packed in: gzip, ZIP, one in the other, byte order marks."""

import codecs
import errno
import gzip
import io
import zipfile
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import NoRoomError, UnexpectedAnswerError
from reportd.model.content import collected
from reportd.partners import unpacking
from reportd.partners.unpacking import BrokenAnswerError, unpack

LIMIT = 1_000_000


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def unpacked(content: bytes, members: str = "*", encoding: str = "utf-8") -> list[bytes]:
    """Return all that is in it."""
    return [part.whole() for part in unpack(content, members, encoding, LIMIT)]


WRAPPED = {
    "plain": b"date,clicks",
    "mark": codecs.BOM_UTF8 + b"date,clicks",
    "gzip": gzip.compress(b"date,clicks"),
    "gzip twice": gzip.compress(gzip.compress(b"date,clicks")),
    "zip of mark": zipped({"report.csv": codecs.BOM_UTF8 + b"date,clicks"}),
    "zip stored": zipped({"report.csv": b"date,clicks"}, zipfile.ZIP_STORED),
    "zip of gzip": zipped({"report.csv.gz": gzip.compress(b"date,clicks")}),
    "gzip of zip": gzip.compress(zipped({"report.csv": b"date,clicks"})),
    "utf-16": "date,clicks".encode("utf-16"),
    "utf-16-be": codecs.BOM_UTF16_BE + "date,clicks".encode("utf-16-be"),
    "zip of utf-16": zipped({"report.csv": "date,clicks".encode("utf-16")}),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappings_come_off(name: str) -> None:
    """Whatever is recognised by its first bytes needs no word in the file, nested as it may be."""
    assert unpacked(WRAPPED[name]) == [b"date,clicks"]


def test_members_of_a_zip() -> None:
    """A pattern picks; they are read in the order of their names, and folders are none."""
    archive = zipped(
        {"b.csv": b"2", "a.csv": b"1", "readme.txt": b"x", "data/": b"", "__MACOSX/a.csv": b"x"}
    )

    assert unpacked(archive, "*.csv") == [b"1", b"2"]
    assert unpacked(archive) == [b"1", b"2", b"x"]
    with pytest.raises(
        UnexpectedAnswerError, match=r"no file like '\*\.json' among 5 of the ZIP: '"
    ):
        unpacked(archive, "*.json")
    with pytest.raises(UnexpectedAnswerError, match="no file like"):
        unpacked(zipped({}))


def test_a_member_without_a_name_is_none() -> None:
    """Damaged, or made so: zipfile cuts names at a NUL, and fails to say of none what it is."""
    archive = zipped({"x": b"date,clicks"}).replace(b"x", b"\0")

    with pytest.raises(UnexpectedAnswerError, match="no file like"):
        unpacked(archive)


@given(st.data())
def test_a_damaged_zip_is_asked_for_again(data: st.DataObject) -> None:
    """Cut anywhere, it is transient; with a wrong byte, it is that, or what it was, or refused."""
    whole = zipped({"report.csv": b"date,clicks\n" * 20})
    cut = data.draw(st.integers(4, len(whole) - 1))
    with pytest.raises(BrokenAnswerError):
        unpacked(whole[:cut])
    at = data.draw(st.integers(4, len(whole) - 1))
    try:
        wrong = whole[at] ^ data.draw(st.integers(1, 255))
        found = unpacked(whole[:at] + bytes([wrong]) + whole[at + 1 :])
    except UnexpectedAnswerError:
        return
    assert found == [b"date,clicks\n" * 20]


def test_bombs() -> None:
    """The report's limit holds for all the files of a ZIP together, and for every layer."""
    many = zipped({str(number): bytes(LIMIT // 2) for number in range(3)})

    with pytest.raises(UnexpectedAnswerError, match="after decompression"):
        unpacked(many)
    with pytest.raises(UnexpectedAnswerError, match="after decompression"):
        unpacked(zipped({"x.gz": gzip.compress(bytes(LIMIT + 1))}))
    inner = b"x"
    for _ in range(4):
        inner = gzip.compress(inner)
    with pytest.raises(UnexpectedAnswerError, match="packed more than 3 times"):
        unpacked(inner)


def test_a_zip_of_a_million_files_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would cost memory before anybody knows whether it is wanted."""
    monkeypatch.setattr(unpacking, "MEMBERS_MOST", 3)

    with pytest.raises(UnexpectedAnswerError, match="a ZIP of more than 3 files"):
        unpacked(zipped({str(number): b"" for number in range(4)}))


def test_packed_in_a_way_that_nobody_unpacks() -> None:
    """Encrypted, or with a method whose memory has no bound."""
    archive = zipped({"a": b"x" * 100}, zipfile.ZIP_LZMA)
    encrypted = bytearray(zipped({"a": b"x"}))
    encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1

    for one in (archive, bytes(encrypted)):
        with pytest.raises(UnexpectedAnswerError, match="encrypted, or packed in a rare way"):
            unpacked(one)


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped({"a.csv": data})])
def test_what_is_large_is_read_again_and_again(pack: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never held; everyone who wants it begins anew."""
    monkeypatch.setattr(unpacking, "IN_MEMORY_BYTES", 1000)
    data = bytes(range(256)) * 20

    (part,) = unpack(pack(data), "*", "utf-8", LIMIT)

    assert part.data is None
    assert b"".join(part.chunks()) == data
    assert part.head(300) == data[:300]
    assert part.whole() == data


def test_no_room_for_an_archive_within_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told apart from an archive that is broken."""

    def full(_chunks: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(unpacking, "collected", full)
    data = zipped({"a.csv": bytes(range(256)) * 20})
    with pytest.raises(NoRoomError, match="No space left"):
        unpacked(gzip.compress(data))


def test_a_large_answer_in_a_file() -> None:
    """A scratch file is unpacked like bytes, a ZIP in it without a copy."""
    text = b"date,clicks\n" + b"2025-11-16,5\n" * 1_000_000
    stored = zipped({"a.csv": text}, zipfile.ZIP_STORED)
    scratch = collected(iter([stored[:5_000_000], stored[5_000_000:]]))

    (part,) = unpack(scratch, "*.csv", "utf-8", 1 << 30)

    assert not isinstance(scratch, bytes)
    assert part.whole() == text


@given(st.text(max_size=50), st.sampled_from(["utf-16", "utf-8", "utf-16-le", "cp1252"]))
def test_characters(text: str, encoding: str) -> None:
    """All becomes UTF-8, or is refused."""
    try:
        data = text.encode(encoding)
        unpack_as = [unpacked(data, "*", encoding)]
    except (UnicodeError, UnexpectedAnswerError):
        return
    assert unpack_as[0][0].decode() in (text, text.removeprefix("\ufeff"))
