"""What an answer holds, in memory or in a file without a name."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.model import content
from reportd.model.content import Scratch, chunks_of, collected, head_of, opened, whole
from tests.descriptors import descriptors


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "IN_MEMORY_BYTES", 10)
    monkeypatch.setattr(content, "CHUNK_BYTES", 4)


@given(st.lists(st.binary(max_size=8), max_size=5))
def test_collected(chunks: list[bytes]) -> None:
    """Small is bytes, large is a file; both read the same, as often as one likes."""
    data = b"".join(chunks)

    found = collected(iter(chunks))

    assert isinstance(found, Scratch) == (len(data) > 10)
    assert len(found) == len(data)
    for _ in range(2):
        assert b"".join(chunks_of(found)) == data
        assert whole(found) == data
        assert head_of(found, 3) == data[:3]
    with opened(found) as file:
        assert file.seek(-min(4, len(data)), os.SEEK_END) == max(0, len(data) - 4)
        assert file.read() == data[-4:]


def test_a_scratch_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no name while it lives, and no descriptor when it is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = descriptors()

    scratch = collected([b"x" * 11])
    during = descriptors()
    names = list(tmp_path.iterdir())
    del scratch
    gc.collect()

    assert names == []
    assert (during, descriptors()) == (before + 1, before)


def test_as_a_file_to_write_to() -> None:
    """Libraries that write to files write to its end."""
    scratch = Scratch()
    scratch.append(b"ab")
    out = scratch.appender()

    assert (out.writable(), out.write(memoryview(b"cd")), out.tell()) == (True, 2, 4)
    assert whole(scratch) == b"abcd"
