"""The spool: answers of many-call requests, durable until their files stand."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportd.errors import OutputError, UnexpectedAnswerError
from reportd.model.content import Scratch, collected, whole
from reportd.sinks.local import LocalStore
from reportd.sinks.spool import Spool, Spooled

ID = "ab" * 16


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give the spool of a new store."""
    return Spool(LocalStore(tmp_path))


def files(root: Path) -> list[str]:
    """Return the names of all spool files."""
    return sorted(path.name for path in (root / "_reportd/spool").rglob("*") if path.is_file())


def path_of(root: Path, stored: Spooled) -> Path:
    """Return where an answer lies."""
    return root / "_reportd/spool" / stored.file


@given(st.binary(max_size=5_000))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_answer_reads_back_as_it_was(spool: Spool, body: bytes) -> None:
    """Raw bytes in, the same bytes out, whatever they are."""
    stored = spool.write(ID, 0, 0, 1, body)

    assert spool.fits(stored.file, stored.size_bytes, stored.checksum)
    assert spool.read(stored.file, stored.checksum) == body


def test_a_large_answer_is_never_in_memory(spool: Spool, tmp_path: Path) -> None:
    """From a file to a file, packed on the way; a damaged one is told apart."""
    chunk = random.Random(5).randbytes(1 << 20)
    body = collected(chunk for _ in range(12))

    stored = spool.write(ID, 0, 0, 1, body)
    found = spool.read(stored.file, stored.checksum)

    assert isinstance(found, Scratch)
    assert whole(found) == chunk * 12
    assert spool.fits(stored.file, stored.size_bytes, stored.checksum)
    with path_of(tmp_path, stored).open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\0")
    assert not spool.fits(stored.file, stored.size_bytes, stored.checksum)


def test_answers_lie_beside_the_data_under_no_data_suffix(spool: Spool, tmp_path: Path) -> None:
    """Nothing that reads the root as a table meets a spool file."""
    spool.write(ID, 2, 1, 3, b"x")

    assert files(tmp_path) == [f"{ID}-2.1.3.zst"]
    assert [path.name for path in tmp_path.iterdir()] == ["_reportd"]


def test_a_step_written_again_replaces_the_first(spool: Spool, tmp_path: Path) -> None:
    """A crash before the step record: the page is stored again, and counts once."""
    spool.write(ID, 0, 0, 1, b"old")
    stored = spool.write(ID, 0, 0, 1, b"new")

    assert spool.read(stored.file, stored.checksum) == b"new"
    assert len(files(tmp_path)) == 1


def test_a_half_written_answer_of_a_killed_process_is_in_nobodys_way(
    spool: Spool, tmp_path: Path
) -> None:
    """The temp file of a crash is written over."""
    stored = spool.write(ID, 0, 0, 1, b"x")
    temp = path_of(tmp_path, stored).with_name(f"{ID}.0.1.zst.tmp")
    temp.write_bytes(b"half")
    again = spool.write(ID, 0, 0, 1, b"whole")

    assert spool.read(again.file, again.checksum) == b"whole"
    assert not temp.exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_an_answer_that_does_not_fit_does_not_count(
    spool: Spool, tmp_path: Path, damage: str
) -> None:
    """Short, altered or missing: its page is asked again."""
    stored = spool.write(ID, 0, 0, 1, b"x" * 100)
    path = path_of(tmp_path, stored)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + b"?")

    assert not spool.fits(stored.file, stored.size_bytes, stored.checksum)
    with pytest.raises(UnexpectedAnswerError, match="gone or damaged"):
        spool.read(stored.file, stored.checksum)


def test_another_size_or_checksum_does_not_fit(spool: Spool) -> None:
    """What the step record says must be what lies there."""
    stored = spool.write(ID, 0, 0, 1, b"x")

    assert not spool.fits(stored.file, stored.size_bytes + 1, stored.checksum)
    assert not spool.fits(stored.file, stored.size_bytes, "sha256:00")


@pytest.mark.parametrize("file", ["", "a", "../store", "a/../../store", "./x", "/etc/passwd", "a/"])
def test_a_name_that_leads_elsewhere_is_not_followed(spool: Spool, file: str) -> None:
    """A step record from anywhere cannot make a worker read other files."""
    assert not spool.fits(file, 1, "sha256:00")


def test_removing_takes_one_life_of_one_request(spool: Spool, tmp_path: Path) -> None:
    """Its other life, and ids that begin alike, stay."""
    for replay in (0, 1):
        spool.write(ID, replay, 0, 1, b"x")
    spool.write(ID, 0, 1, 2, b"x")
    spool.write("ab" * 15 + "ac", 0, 0, 1, b"x")
    spool.remove(ID, 0)
    spool.remove(ID, 0)

    assert files(tmp_path) == [f"{ID}-1.0.1.zst", f"{'ab' * 15}ac.0.1.zst"]


def test_removing_what_was_never_there_is_fine(spool: Spool) -> None:
    """A sweep may come twice, or after the age-out."""
    spool.remove("ff" * 16, 0)


def test_a_root_that_went_away_is_an_output_error(spool: Spool, tmp_path: Path) -> None:
    """An unmounted output is waited for; nothing is made in its place."""
    tmp_path.rename(tmp_path.with_name("elsewhere"))

    with pytest.raises(OutputError):
        spool.write(ID, 0, 0, 1, b"x")
    assert not tmp_path.exists()
    tmp_path.with_name("elsewhere").rename(tmp_path)
