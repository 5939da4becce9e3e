"""Programs as children: started, looked at, ended by their own pids."""

import os
import signal
from pathlib import Path

import pytest

from reportd.demo.programs import Program, ProgramError, children_of

SERVER = ("http.server", ["0", "--bind", "127.0.0.1"])


def test_a_program_is_a_child_until_it_is_killed(tmp_path: Path) -> None:
    """It is found among the children, and is gone after the kill."""
    program = Program(*SERVER, tmp_path / "log").start()
    while not children_of(os.getpid())[program.pid]:
        pass  # the kernel fills the command line in a little after the program has started
    assert "http.server" in children_of(os.getpid())[program.pid]
    program.kill()
    assert program.status() == -signal.SIGKILL
    assert program.pid not in children_of(os.getpid())


def test_a_program_is_asked_to_stop(tmp_path: Path) -> None:
    """SIGTERM first; its status is told."""
    program = Program(*SERVER, tmp_path / "log").start()
    assert program.stop(20.0) == -signal.SIGTERM


def test_what_a_program_said_is_kept_over_restarts(tmp_path: Path) -> None:
    """Both starts' output is in the log."""
    program = Program("reportd.no_such_module", [], tmp_path / "log")
    for _ in range(2):
        assert program.start().wait(20.0) == 1
    assert program.said().count("No module named") == 2


def test_a_program_that_goes_on_is_an_error(tmp_path: Path) -> None:
    """Waiting has an end."""
    program = Program(*SERVER, tmp_path / "log").start()
    with pytest.raises(ProgramError, match="did not end"):
        program.wait(0.01)
    program.kill()
