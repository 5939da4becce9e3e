"""Signals to the real daemon, with real workers: stop, reload, wedged, ready."""

import os
import re
import select
import signal
import socket
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.demo.simulator.config import Latency
from reportd.errors import EXIT_CONFIG
from tests.system.stage import Feeder, Stage, Vm, freeze, stopped, until

SLOW = Latency(median_seconds=1.0)
AT_ONCE = 8


def ask(stage: Stage, most: int) -> None:
    """Write so many requests."""
    Feeder(stage, most).feed()


def busy(stage: Stage) -> None:
    """Wait until calls are in flight and something has ended."""
    until(
        lambda: stage.in_flight() >= AT_ONCE and len(stage.follow().ends) >= AT_ONCE,
        "calls in flight",
    )


def concluded(stage: Stage, vm: Vm) -> None:
    """Let everything end, stop, and see that every promise was kept."""
    stage.simulator.latency(Latency())
    until(stage.all_ended, "every request to end")
    stopped(vm)
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))


def calls_of(stage: Stage) -> int:
    """Return how many complete answers were given twice."""
    seen = [(call.question, call.page) for call in stage.simulator.calls() if call.complete]
    return len(seen) - len(set(seen))


def test_term_drains(stage: Stage) -> None:
    """TERM lets calls in flight finish and commits: the next daemon asks nothing again."""
    stage.simulator.latency(SLOW)
    vm = stage.vm("vm-a")
    ask(stage, 200)
    stage.start(vm)
    busy(stage)

    stopped(vm)

    stage.follow()
    answered = len(stage.simulator.calls())
    assert stage.in_flight() == 0
    assert len(stage.ledgers.ends) == answered, "an answer was not made durable in the drain"
    stage.list_durable()
    stage.start(vm)
    concluded(stage, vm)
    assert calls_of(stage) == 0
    assert len(stage.simulator.calls()) == len(stage.requests)


def test_drain_has_an_end(stage: Stage) -> None:
    """Calls that take longer than ``drain_seconds`` are given up, and asked again."""
    stage.simulator.hold()
    vm = stage.vm("vm-a", drain_seconds=1)
    ask(stage, 40)
    stage.start(vm)
    until(lambda: stage.in_flight() >= AT_ONCE, "calls in flight")

    status = vm.daemon.stop(15)

    assert status == 0
    assert "drain_over" in vm.said()
    stage.simulator.release()
    stage.start(vm)
    concluded(stage, vm)


def test_reload(stage: Stage) -> None:
    """HUP with a changed configuration: workers are replaced one by one, nothing is repeated."""
    stage.simulator.latency(SLOW)
    vm = stage.vm("vm-a")
    ask(stage, 200)
    stage.start(vm)
    busy(stage)
    before = vm.workers()
    stage.configure(vm, processes=2, threads=12)

    vm.daemon.signal(signal.SIGHUP)
    until(lambda: " reload_done " in vm.said(), "the reload")

    after = vm.workers()
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    events = re.findall(r"child_(started|stopped) (?:started )?(worker-\d)", vm.said())[2:]
    assert events == [
        ("stopped", "worker-0"),
        ("started", "worker-0"),
        ("stopped", "worker-1"),
        ("started", "worker-1"),
    ]
    concluded(stage, vm)
    assert calls_of(stage) == 0


def test_bad_reload(stage: Stage) -> None:
    """HUP with wrong files, or another output: it is said, nobody is touched, work goes on."""
    stage.simulator.latency(SLOW)
    vm = stage.vm("vm-a")
    ask(stage, 60)
    stage.start(vm)
    before = vm.workers()
    vm.config.write_text(vm.config.read_text().replace("processes = 2", 'processes = "no"'))

    vm.daemon.signal(signal.SIGHUP)
    until(lambda: "reload_refused" in vm.said(), "the refusal")

    assert f"{vm.config}: workers.processes" in vm.said()
    elsewhere = stage.place.root / "elsewhere"
    elsewhere.mkdir()
    stage.output = (f'root = "{elsewhere}"', "shared = true")
    stage.configure(vm)
    vm.daemon.signal(signal.SIGHUP)
    until(lambda: vm.said().count(" reload_refused ") == 2, "another output's refusal")

    assert f"{vm.config}: output.root: {elsewhere} is another store" in vm.said()
    assert vm.workers() == before
    concluded(stage, vm)


def test_reload_command(
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What systemd's reload runs: over when all are new ones, or with every reason why not."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    stage.simulator.latency(SLOW)
    vm = stage.vm("vm-a")
    ask(stage, 100)
    stage.start(vm)
    busy(stage)
    before = set(vm.daemon.children())
    command = ["reload", "--pid", str(vm.daemon.pid)]
    stage.configure(vm, threads=12)

    assert reportctl.main(command) == 0
    after = set(vm.daemon.children())
    assert len(after) == len(before)
    assert not after & before

    vm.config.write_text(vm.config.read_text().replace("threads = 12", "thread = 12"))
    assert reportctl.main(command) == EXIT_CONFIG
    assert f"{vm.config}: workers.thread: unknown setting" in capsys.readouterr().err
    assert set(vm.daemon.children()) == after
    concluded(stage, vm)
    assert calls_of(stage) == 0


def test_wedged(stage: Stage) -> None:
    """A worker that stands still for longer than its limit is ended and replaced."""
    stage.simulator.latency(SLOW)
    vm = stage.vm("vm-a", heartbeat_limit_seconds=2)
    ask(stage, 120)
    stage.start(vm)
    busy(stage)
    name, pid = sorted(vm.workers().items())[0]

    freeze([pid])
    stage.list_durable()
    until(lambda: vm.workers().get(name, pid) != pid, "the replacement")

    assert f"child_silent {name} has been silent" in vm.said()
    concluded(stage, vm)


def test_systemd_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """READY=1 when it runs, STOPPING=1 when it stops.

    That READY=1 waits for every child's first beat is shown in test_supervisor.py, where the
    children do as they are told.
    """
    path = Path(os.environ["TMPDIR"]) / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        vm = stage.vm("vm-a")
        vm.daemon.start()
        until(lambda: any("READY=1" in text for text in _heard(heard)), "READY=1")
        assert " ready all " in vm.said()

        stopped(vm)

        assert any("STOPPING=1" in text for text in _heard(heard))


def _heard(heard: socket.socket) -> list[str]:
    """Return what systemd was told since the last time."""
    found = []
    while select.select([heard], [], [], 0)[0]:
        found.append(heard.recv(4096).decode())
    return found
