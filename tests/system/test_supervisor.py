"""The supervisor with real forks and signals, over small fake children."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from reportd import metrics
from reportd.cli import reportctl

SCRIPT = Path(__file__).with_name("small_daemon.py")
PATIENCE_SECONDS = 30.0


def until(found: Callable[[], Any], what: str) -> Any:
    """Wait for something to become true and return it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if result := found():
            return result
        select.select([], [], [], 0.02)
    pytest.fail(f"waited in vain for {what}")


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


class Daemon:
    """One small daemon under test."""

    def __init__(self, folder: Path) -> None:
        """Keep its files in ``folder``; `start` starts it."""
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.notified: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)

    def plan(self, *children: dict[str, Any], **more: Any) -> None:
        """Write what the daemon reads at its start and at SIGHUP."""
        (self.folder / "plan.json").write_text(json.dumps({"children": children, **more}))

    def start(self, **environ: str) -> "Daemon":
        """Start it."""
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(self.folder)],
                stderr=log,
                env=os.environ | {"NOTIFY_SOCKET": str(self.folder / "notify")} | environ,
            )
        return self

    def ready(self) -> "Daemon":
        """Wait until it said so."""
        until(lambda: any("READY=1" in text for text in self.told()), "READY=1")
        return self

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send the supervisor a signal."""
        os.kill(self.pid, number)

    def told(self) -> list[str]:
        """Return all that systemd was told so far."""
        while True:
            try:
                self.notified.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.notified

    def log(self) -> str:
        """Return the log so far."""
        return (self.folder / "log").read_text()

    def lives(self, name: str) -> list[dict[str, Any]]:
        """Return the lives of a child so far."""
        file = self.folder / f"{name}.lives"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def accepted(self) -> list[str]:
        """Return which plans were accepted, by their children's tags."""
        return (self.folder / "accepted").read_text().splitlines()

    def ended(self) -> int:
        """Wait for the daemon's end; return its exit status."""
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._socket.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Return a daemon that is not started yet."""
    made = Daemon(tmp_path)
    yield made
    made.close()


WORKER = {"name": "worker-0"}
SECOND = {"name": "worker-1"}
OBSERVER = {"name": "observer", "last": True}


def test_stops_clean_on_term(daemon: Daemon) -> None:
    """TERM drains the workers, then the last ones, and the exit status is 0."""
    daemon.plan({**WORKER, "drain_seconds": 0.3}, OBSERVER)
    daemon.start().ready().signal(signal.SIGTERM)

    assert daemon.ended() == 0
    log = daemon.log()
    assert log.index("worker-0 stopped") < log.index("observer stopped")
    assert any("STOPPING=1" in text for text in daemon.told())


def test_ready_only_after_every_first_beat(daemon: Daemon) -> None:
    """A child that never beats keeps the daemon from being ready."""
    daemon.plan(WORKER, {**SECOND, "does": "never beat"})
    daemon.start()
    until(lambda: daemon.lives("worker-0") and daemon.lives("worker-1"), "both to start")
    until(lambda: any("STATUS=starting: 2 of 2" in text for text in daemon.told()), "a status")

    assert not any("READY=1" in text for text in daemon.told())


def test_second_term_changes_nothing(daemon: Daemon) -> None:
    """TERM twice still drains."""
    daemon.plan({**WORKER, "drain_seconds": 0.5})
    daemon.start().ready()
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGTERM)

    assert daemon.ended() == 0
    assert "worker-0 stopped (exit status 0)" in daemon.log()


def test_second_interrupt_does_not_drain(daemon: Daemon) -> None:
    """Ctrl-C twice ends at once."""
    daemon.plan({**WORKER, "drain_seconds": 600}, drain_seconds=600)
    daemon.start().ready().signal(signal.SIGINT)
    until(lambda: "stop_begins" in daemon.log(), "the stop")
    daemon.signal(signal.SIGINT)

    assert daemon.ended() == 0


def test_overdue_child_is_killed(daemon: Daemon) -> None:
    """A child that does not end within drain and margin is killed; its requests get no strike."""
    daemon.plan({**WORKER, "does": "ignore stop", "in_hand": ["slow"]}, drain_seconds=0.0)
    daemon.start().ready().signal(signal.SIGTERM)

    assert daemon.ended() == 0
    assert "worker-0 did not end in time: killing it" in daemon.log()
    assert "with 1 requests in hand" not in daemon.log()


def test_killed_worker_comes_back_with_strikes(daemon: Daemon) -> None:
    """After kill -9 the slot's next process knows what its predecessor had in hand."""
    daemon.plan({**WORKER, "in_hand": ["a" * 32, "b" * 32]}, SECOND)
    daemon.start().ready()
    os.kill(daemon.lives("worker-0")[0]["pid"], signal.SIGKILL)
    until(lambda: len(daemon.lives("worker-0")) == 2, "the respawn")

    second = daemon.lives("worker-0")[1]
    assert second["strikes"] == {"a" * 32: 1, "b" * 32: 1}
    assert len(daemon.lives("worker-1")) == 1

    os.kill(second["pid"], signal.SIGKILL)
    until(lambda: len(daemon.lives("worker-0")) == 3, "the second respawn")
    assert daemon.lives("worker-0")[2]["strikes"] == {"a" * 32: 2, "b" * 32: 2}


def test_counters_go_on_after_kill(daemon: Daemon) -> None:
    """What a killed worker counted stays counted, and its successor adds to it."""
    daemon.plan(WORKER)
    daemon.start().ready()
    registry = CollectorRegistry()
    registry.register(metrics.read_files(daemon.folder / "metrics"))

    def rows() -> float | None:
        return registry.get_sample_value("reportd_rows_total", {"partner": "acme"})

    assert rows() == 1
    os.kill(daemon.lives("worker-0")[0]["pid"], signal.SIGKILL)
    until(lambda: rows() == 2, "the successor to count")


def test_crash_loop_backs_off(daemon: Daemon) -> None:
    """A child that keeps dying young is started again, but not in a storm."""
    daemon.plan(WORKER, {**SECOND, "does": "crash"})
    daemon.start()
    until(lambda: len(daemon.lives("worker-1")) >= 3, "some lives")
    started = time.monotonic()
    until(lambda: len(daemon.lives("worker-1")) >= 4, "one more")

    assert time.monotonic() - started > 0.5  # the third wait is a second
    assert "RuntimeError: a bug" in daemon.log()
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_wedged_child_is_aborted_with_traces(daemon: Daemon) -> None:
    """A child stuck in C code with the interpreter's lock held is aborted and replaced."""
    daemon.plan(
        {**WORKER, "does": "wedge", "in_hand": ["killer"]}, SECOND, heartbeat_limit_seconds=1.0
    )
    daemon.start()
    until(lambda: len(daemon.lives("worker-0")) == 2, "the replacement")

    log = daemon.log()
    assert "worker-0 has been silent for" in log
    assert "Fatal Python error: Aborted" in log
    assert "in behave" in log
    assert daemon.lives("worker-0")[1]["strikes"] == {"killer": 1}
    assert len(daemon.lives("worker-1")) == 1


def test_stopped_child_is_replaced(daemon: Daemon) -> None:
    """A child that SIGSTOP holds cannot be aborted; it is killed and replaced."""
    daemon.plan(WORKER, heartbeat_limit_seconds=1.0)
    daemon.start().ready()
    os.kill(daemon.lives("worker-0")[0]["pid"], signal.SIGSTOP)

    until(lambda: len(daemon.lives("worker-0")) == 2, "the replacement")


def test_daemon_that_slept_aborts_nobody(daemon: Daemon) -> None:
    """After the whole daemon was stopped and woken its children are not taken for wedged."""
    daemon.plan({**WORKER, "drain_seconds": 0.0}, heartbeat_limit_seconds=3.0)
    daemon.start().ready()
    pids = [daemon.pid, daemon.lives("worker-0")[0]["pid"]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    select.select([], [], [], 6.0)
    os.kill(daemon.pid, signal.SIGCONT)
    select.select([], [], [], 1.0)
    os.kill(pids[1], signal.SIGCONT)
    select.select([], [], [], 1.0)

    assert "silent" not in daemon.log()
    assert len(daemon.lives("worker-0")) == 1


def test_children_die_with_the_supervisor(daemon: Daemon) -> None:
    """Kill -9 of the supervisor leaves no child behind."""
    daemon.plan(WORKER, {**SECOND, "does": "ignore stop"}, OBSERVER)
    daemon.start().ready()
    names = ("worker-0", "worker-1", "observer")
    pids = [daemon.lives(name)[0]["pid"] for name in names]
    daemon.signal(signal.SIGKILL)
    daemon.ended()

    until(lambda: not any(is_alive(pid) for pid in pids), "the children's end")


def test_refusing_child_halts_the_daemon(daemon: Daemon) -> None:
    """A child's 78 ends the daemon with 78 and its reason; the others are drained."""
    daemon.plan(WORKER, {**SECOND, "does": "refuse"})
    daemon.start()

    assert daemon.ended() == 78
    assert "halt this VM must not run: instance id is taken by vm-2" in daemon.log()
    assert "worker-0 stopped (exit status 0)" in daemon.log()


def test_unavailable_at_the_start(daemon: Daemon) -> None:
    """A child's 75 before readiness ends the daemon with 75."""
    daemon.plan(WORKER, {**SECOND, "does": "unavailable"})
    daemon.start()

    assert daemon.ended() == 75
    assert "halt broker is away" in daemon.log()


def test_check_fails_at_the_start(daemon: Daemon) -> None:
    """What the check finds ends the daemon before any child is forked, all problems named."""
    daemon.plan(WORKER, problems=["reportd.toml: kafka: missing", "reportd.toml: output: missing"])
    daemon.start()

    assert daemon.ended() == 78
    assert "kafka: missing" in daemon.log()
    assert "output: missing" in daemon.log()
    why = "STATUS=reportd.toml: kafka: missing; reportd.toml: output: missing; draining"
    assert any(f"STOPPING=1\n{why}" in text for text in daemon.told())
    assert daemon.lives("worker-0") == []


def test_outside_away_at_the_start(daemon: Daemon) -> None:
    """A check that finds the outside away ends with 75."""
    daemon.plan(WORKER, away="broker 127.0.0.1:1: not reachable")
    daemon.start()

    assert daemon.ended() == 75
    assert "broker 127.0.0.1:1: not reachable" in daemon.log()


def test_stop_during_the_check(daemon: Daemon) -> None:
    """TERM while the check is under way ends the daemon at once."""
    daemon.plan(WORKER, hang=True)
    daemon.start()
    until(lambda: any("starting" in text for text in daemon.told()), "the start")
    daemon.signal(signal.SIGTERM)

    assert daemon.ended() == 0


def test_reload_replaces_one_at_a_time(daemon: Daemon) -> None:
    """HUP with a good configuration replaces every child, the last ones last, all alive but one."""
    old = [{**WORKER, "tag": 1}, {**SECOND, "tag": 1}, {**OBSERVER, "tag": 1}]
    new = [{**WORKER, "tag": 2}, {**SECOND, "tag": 2}, {**OBSERVER, "tag": 2}]
    daemon.plan(*old)
    daemon.start().ready()
    daemon.plan(*new)
    daemon.signal(signal.SIGHUP)
    until(lambda: "reload_done" in daemon.log(), "the reload")

    tags = {
        name: [life["tag"] for life in daemon.lives(name)]
        for name in ("worker-0", "worker-1", "observer")
    }
    assert tags == {"worker-0": [1, 2], "worker-1": [1, 2], "observer": [1, 2]}
    events = [
        line.split("Z ")[1]
        for line in daemon.log().splitlines()
        if "child_started" in line or "child_stopped" in line
    ][3:]
    assert [event.split()[3:5] for event in events] == [
        ["worker-0", "stopped"],
        ["started", "worker-0,"],
        ["worker-1", "stopped"],
        ["started", "worker-1,"],
        ["observer", "stopped"],
        ["started", "observer,"],
    ]
    kinds = [text for text in daemon.told() if "RELOADING" in text or "READY" in text]
    assert ["READY" in text for text in kinds] == [True, False, True]
    assert daemon.accepted() == ["[1, 1, 1]", "[2, 2, 2]"]


def test_bad_reload_keeps_what_runs(daemon: Daemon) -> None:
    """HUP with a wrong configuration names every problem and touches nobody."""
    daemon.plan(WORKER)
    daemon.start().ready()
    daemon.plan(WORKER, problems=["acme.toml: limits: wrong", "acme.toml: hosts: missing"])
    daemon.signal(signal.SIGHUP)
    until(lambda: "hosts: missing" in daemon.log(), "the refusal")
    until(lambda: any("refused" in text for text in daemon.told()), "the status line")

    assert "limits: wrong" in daemon.log()
    assert len(daemon.lives("worker-0")) == 1


def test_reload_that_does_not_start_goes_back(daemon: Daemon) -> None:
    """A new child that halts before its first beat brings the old configuration back."""
    daemon.plan({**WORKER, "tag": 1}, {**SECOND, "tag": 1})
    daemon.start().ready()
    daemon.plan({**WORKER, "tag": 2}, {**SECOND, "tag": 2, "does": "refuse"}, {"name": "worker-2"})
    daemon.signal(signal.SIGHUP)
    until(lambda: len(daemon.lives("worker-0")) == 3, "the way back")
    until(lambda: len(daemon.lives("worker-1")) == 3, "the way back")

    assert [life["tag"] for life in daemon.lives("worker-0")] == [1, 2, 1]
    assert [life["tag"] for life in daemon.lives("worker-1")] == [1, 2, 1]
    assert daemon.lives("worker-2") == []
    assert "does not start with it" in daemon.log()
    assert daemon.accepted() == ["[1, 1]"]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_reload_with_another_number_of_workers(daemon: Daemon) -> None:
    """A reload adds and takes away children."""
    daemon.plan(WORKER, SECOND)
    daemon.start().ready()
    daemon.plan(WORKER, {"name": "worker-2"})
    daemon.signal(signal.SIGHUP)
    until(lambda: "reload_done" in daemon.log(), "the reload")

    until(lambda: len(daemon.lives("worker-2")) == 1, "the new one")
    assert not is_alive(daemon.lives("worker-1")[0]["pid"])


def reload(daemon: Daemon, *more: str) -> int:
    """Run ``reportctl reload`` on the daemon."""
    return reportctl.main(["reload", "--runtime-folder", str(daemon.folder), *more])


def test_reload_command_waits_until_it_is_done(daemon: Daemon) -> None:
    """When ``reportctl reload`` has ended every child is a new one, however long they drained."""
    slow = {"tag": 1, "drain_seconds": 0.5}
    daemon.plan({**WORKER, **slow}, {**SECOND, **slow}, {**OBSERVER, **slow})
    daemon.start().ready()
    daemon.plan({**WORKER, "tag": 2}, {**SECOND, "tag": 2}, {**OBSERVER, "tag": 2})

    assert reload(daemon, "--pid", str(daemon.pid)) == 0
    names = ("worker-0", "worker-1", "observer")
    assert [[life["tag"] for life in daemon.lives(name)] for name in names] == [[1, 2]] * 3


def test_reload_command_says_why_it_is_refused(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal ends it with 78 and every problem; a good one after it is good again."""
    daemon.plan(WORKER)
    daemon.start().ready()
    daemon.plan(WORKER, problems=["acme.toml: limits: wrong", "acme.toml: hosts: missing"])

    assert reload(daemon) == 78
    said = capsys.readouterr().err
    assert said.splitlines()[1:] == ["acme.toml: limits: wrong", "acme.toml: hosts: missing"]

    daemon.plan(WORKER)
    assert reload(daemon) == 0


def test_reload_command_waits_for_the_way_back(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """A child that does not start refuses the reload; it is over when the old ones run again."""
    daemon.plan({**WORKER, "tag": 1}, {**SECOND, "tag": 1})
    daemon.start().ready()
    daemon.plan({**WORKER, "tag": 2}, {**SECOND, "tag": 2, "does": "refuse"})

    assert reload(daemon) == 78
    assert "instance id is taken by vm-2" in capsys.readouterr().err
    assert [life["tag"] for life in daemon.lives("worker-1")] == [1, 2, 1]


def test_reload_command_gives_up(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """It waits no longer than told, and not at all for a daemon that is not there."""
    daemon.plan(WORKER)
    daemon.start().ready()
    daemon.plan(WORKER, hang=True)

    assert reload(daemon, "--timeout", "0.3") == 75
    assert reload(daemon, "--pid", "1") == 75
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert reload(daemon) == 75
    assert "is gone" in capsys.readouterr().err


def test_stacks_on_usr1(daemon: Daemon) -> None:
    """USR1 dumps the stacks of the supervisor and of every child, and all live on."""
    daemon.plan(WORKER)
    daemon.start().ready().signal(signal.SIGUSR1)
    until(lambda: "in serve" in daemon.log() and "in _turn" in daemon.log(), "the stacks")

    assert is_alive(daemon.lives("worker-0")[0]["pid"])


def test_watchdog_is_fed(daemon: Daemon) -> None:
    """WATCHDOG=1 comes from the supervisor's loop, again and again."""
    daemon.plan(WORKER)
    daemon.start(WATCHDOG_USEC="1000000").ready()

    until(lambda: sum("WATCHDOG=1" in text for text in daemon.told()) >= 3, "the watchdog")


def test_status_line_says_how_it_goes(daemon: Daemon) -> None:
    """The status line has the processes and the work's summary."""
    daemon.plan(WORKER, SECOND)
    daemon.start().ready()

    assert any("STATUS=running: 2 of 2 processes; 12 open" in text for text in daemon.told())


def test_processes_have_names(daemon: Daemon) -> None:
    """`ps` shows which process is which."""
    daemon.plan(WORKER)
    daemon.start().ready()
    pid = daemon.lives("worker-0")[0]["pid"]

    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"reportd: worker 0")
