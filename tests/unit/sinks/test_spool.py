"""The spool: answers of many-call requests, durable until their files stand."""

import errno
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
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


def test_no_room_to_pack_a_large_answer_is_this_machines_fault(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full TMPDIR is no answer that does not parse: the same is stored when there is room."""
    body = collected(bytes(1 << 20) for _ in range(6))
    assert isinstance(body, Scratch)

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", full)
        with pytest.raises(OutputError, match="TMPDIR: No space left on device"):
            spool.write(ID, 0, 0, 1, body)

    assert files(tmp_path) == []
    stored = spool.write(ID, 0, 0, 1, body)
    assert spool.fits(stored.file, stored.size_bytes, stored.checksum)


def test_answers_lie_beside_the_data_under_no_data_suffix(spool: Spool, tmp_path: Path) -> None:
    """Nothing that reads the root as a table meets a spool file."""
    spool.write(ID, 2, 1, 3, b"x")

    (name,) = files(tmp_path)
    assert re.fullmatch(rf"{ID}-2\.[0-9a-f]{{8}}\.1\.3\.zst", name)
    assert [path.name for path in tmp_path.iterdir()] == ["_reportd"]


def test_a_step_written_again_leaves_the_first_alone(spool: Spool, tmp_path: Path) -> None:
    """A crash before the step record: the page is stored again; both go with their request."""
    first = spool.write(ID, 0, 0, 1, b"old")
    second = spool.write(ID, 0, 0, 1, b"new")

    assert spool.read(first.file, first.checksum) == b"old"
    assert spool.read(second.file, second.checksum) == b"new"
    spool.remove(ID, 0)
    assert files(tmp_path) == []


def stopped_before_its_rename(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]
) -> None:
    """Let something happen before the next file gets its name."""
    rename = os.rename

    def woken(temp: str, name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        monkeypatch.setattr(os, "rename", rename)
        meanwhile()
        rename(temp, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", woken)


def test_a_process_that_was_stopped_and_wakes_replaces_nothing(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor has stored the same page meanwhile: that answer's record stands."""
    successor = Spool(LocalStore(tmp_path))
    stored: list[Spooled] = []
    stopped_before_its_rename(
        monkeypatch, lambda: stored.append(successor.write(ID, 0, 0, 1, b"the successor's"))
    )
    spool.write(ID, 0, 0, 1, b"the zombie's")

    (one,) = stored
    assert successor.fits(one.file, one.size_bytes, one.checksum)
    assert successor.read(one.file, one.checksum) == b"the successor's"


def test_half_an_answer_of_a_successor_never_gets_a_name(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both keep what nobody understood, under one name: each a temp file of its own."""
    successor = Spool(LocalStore(tmp_path))
    kept: list[str] = []
    stopped_before_its_rename(monkeypatch, lambda: kept.append(successor.keep(ID, 0, b"b")))
    kept.append(spool.keep(ID, 0, b"a"))

    assert len(set(kept)) == 1
    found = pa.decompress((tmp_path / kept[0]).read_bytes(), 1, "zstd", asbytes=True)
    assert found == b"a"


def test_a_half_written_answer_of_a_killed_process_goes_by_age(
    spool: Spool, tmp_path: Path
) -> None:
    """It has a name of its own, so nothing writes over it; while its request is open it stays."""
    stored = spool.write(ID, 0, 0, 1, b"x")
    temp = path_of(tmp_path, stored).with_name(f"{ID}.0123abcd.tmp")
    temp.write_bytes(b"half")
    later = temp.stat().st_mtime + 60.0

    assert spool.sweep(30.0, later, ID.__eq__) == 0
    assert spool.sweep(30.0, later, "another".__eq__) == 2
    assert files(tmp_path) == []


def test_an_answer_that_cannot_be_stored_leaves_nothing(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again until the disk has room: half a file a try would fill it."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        spool.write(ID, 0, 0, 1, b"x")  # the folders are there
        disk.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            spool.write(ID, 0, 0, 2, b"x")

    assert len(files(tmp_path)) == 1


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

    left = [name.partition(".")[0] for name in files(tmp_path)]
    assert left == [f"{ID}-1", f"{'ab' * 15}ac"]


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
