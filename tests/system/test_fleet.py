"""Several daemons on one broker and one output: who leaves, who is refused, who disagrees."""

import re

import pytest

from reportd.cli import reportctl
from reportd.errors import EXIT_CONFIG
from tests.system.stage import Feeder, Stage, Vm, stopped, until

SESSION_SECONDS = 60


def both(stage: Stage) -> tuple[Vm, Vm]:
    """Start two VMs that share the partitions."""
    vms = [
        stage.vm(name, processes=2, vms=2, session_timeout_seconds=SESSION_SECONDS)
        for name in ("vm-a", "vm-b")
    ]
    for vm in vms:
        stage.start(vm)
    until(lambda: all(vm.all_parts() for vm in vms), "both to have partitions")
    return vms[0], vms[1]


def leave(vm: Vm, *more: str) -> int:
    """Run ``reportctl leave`` with a VM's configuration."""
    return reportctl.main(["leave", "--config", str(vm.config), *more])


def test_leave_gives_partitions_to_others_at_once(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a stopped VM had is read elsewhere long before its session ends."""
    gone, other = both(stage)
    had = gone.all_parts()

    assert leave(gone) == EXIT_CONFIG
    assert f"still runs here (pid {gone.daemon.pid})" in capsys.readouterr().err
    assert gone.daemon.status() is None

    stopped(gone)
    Feeder(stage, 40).feed()
    assert leave(gone) == 0
    said = capsys.readouterr().out
    took = re.search(r"vm-a-0, vm-a-1 left; others had the partitions after ([0-9.]+) s", said)
    assert took is not None, said
    with capsys.disabled():
        print(f"\nsession of {SESSION_SECONDS} s: taken over {took[1]} s after reportctl leave")
    assert float(took[1]) < SESSION_SECONDS / 2
    until(lambda: had <= other.all_parts(), "the other to have all", SESSION_SECONDS / 2)
    until(stage.all_ended, "every request to end")
    assert leave(gone) == 0
    assert "vm-a is not in the group" in capsys.readouterr().out
    stopped(other)
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))
