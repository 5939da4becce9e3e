"""Programs as children: started, looked at, ended by their own pids."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reportd.demo.programs import Daemon, Program, ProgramError, children_of

SERVER = ("http.server", ["0", "--bind", "127.0.0.1"])


def test_a_program_is_a_child_until_it_is_killed(tmp_path: Path) -> None:
    """It is found among the children, and is gone after the kill."""
    program = Program(*SERVER, tmp_path / "log").start()
    while "setpriv" in (said := children_of(os.getpid())[program.pid]) or not said:
        pass  # on its way to be the program
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


PARENT = """
import signal
from pathlib import Path
from reportd.demo.programs import Program
program = Program("http.server", ["0", "--bind", "127.0.0.1"], Path({log!r})).start()
while b"http.server" not in (said := Path(f"/proc/{{program.pid}}/cmdline").read_bytes()):
    pass
while said.startswith(b"setpriv"):
    said = Path(f"/proc/{{program.pid}}/cmdline").read_bytes()
print(program.pid, flush=True)
signal.pause()
"""


def test_a_program_dies_with_whoever_started_it(tmp_path: Path) -> None:
    """A demo or test that is killed leaves nothing behind."""
    program = PARENT.format(log=str(tmp_path / "log"))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        handle = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    assert poll.poll(20_000)
    os.close(handle)


def test_a_child_that_is_reaped_meanwhile_is_gone(tmp_path: Path) -> None:
    """Killing all of a daemon gets by without a child that was listed and is no more."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait()

    class Listed(Daemon):
        def children(self) -> dict[int, str]:
            return {gone.pid: "reportd: worker 0"}

    daemon = Listed(tmp_path / "no.toml", tmp_path / "log")
    daemon.start()
    daemon.kill_all()
    assert daemon.status() is not None
