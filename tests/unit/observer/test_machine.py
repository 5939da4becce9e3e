"""Who this machine is."""

import os
from pathlib import Path

import pytest

from reportd.errors import ConfigError
from reportd.observer.machine import is_running, machine_id, private_bytes, started_ticks


def test_configured_id_comes_first(tmp_path: Path) -> None:
    """What is configured needs no file."""
    assert machine_id("vm-1", tmp_path / "none") == "vm-1"


def test_id_of_the_file(tmp_path: Path) -> None:
    """Otherwise systemd's id is taken."""
    file = tmp_path / "machine-id"
    file.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")

    assert machine_id(None, file) == "3d1219c7c4c5404aaa1f6d2a48adfda4"


@pytest.mark.parametrize("text", ["", "uninitialized\n", None])
def test_no_id_is_said(tmp_path: Path, text: str | None) -> None:
    """A machine without an id (an image being built) is told what to set."""
    file = tmp_path / "machine-id"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigError, match=r"workers\.machine_id"):
        machine_id(None, file)


def test_a_process_is_known_by_pid_and_start() -> None:
    """A pid that is used again is another process."""
    mine = started_ticks(os.getpid())

    assert is_running(os.getpid(), mine)
    assert not is_running(os.getpid(), mine + 1)
    assert not is_running(2**22 + 1, mine)
    assert not is_running(0, 0)


def test_hidden_process_may_be_the_one(tmp_path: Path) -> None:
    """What a unit's walls hide in ``/proc`` runs all the same; who is gone, or a zombie, not."""
    mine = started_ticks(os.getpid())
    (tmp_path / str(os.getppid())).mkdir()

    assert is_running(os.getpid(), mine, tmp_path)
    assert not is_running(os.getppid(), mine, tmp_path)
    assert not is_running(2**22 + 1, mine, tmp_path)


def test_private_memory() -> None:
    """This process has some; one that is not there has none to tell."""
    assert (private_bytes(os.getpid()) or 0) > 100_000
    assert private_bytes(2**22 + 1) is None
