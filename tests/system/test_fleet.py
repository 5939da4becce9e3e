"""Several daemons on one broker and one output: who leaves, who is refused, who disagrees."""

import os
import re
import signal
import time
from collections import Counter
from typing import Any

import orjson
import pytest

from reportd.cli import reportctl
from reportd.cli.observing import ask_observer
from reportd.config.load import load
from reportd.demo.simulator.config import Latency
from reportd.errors import EXIT_CONFIG
from reportd.model.vm import Vm as Neighbour
from tests.system.stage import Feeder, Stage, Vm, pause, stopped, until
from tests.system.test_start import refused

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
    took = re.search(r"vm-a-0, vm-a-1 left; the group had settled after ([0-9.]+) s", said)
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


def test_fewer_workers_give_partitions_to_others_at_once(stage: Stage) -> None:
    """A VM that has a worker for each partition makes room for one that joins by a reload."""
    first = stage.vm("vm-a", processes=4, session_timeout_seconds=SESSION_SECONDS)
    second = stage.vm("vm-b", processes=2, session_timeout_seconds=SESSION_SECONDS)
    stage.start(first)
    # The worker that is first has all of them for a moment; then they are shared out
    until(
        lambda: [len(parts) for parts in first.parts().values()] == [1] * len(first.workers()),
        "each of the first's workers to have one",
    )
    stage.start(second)
    assert not second.all_parts()
    feeder = Feeder(stage, 40)
    feeder.feed()

    stage.configure(first, processes=2, session_timeout_seconds=SESSION_SECONDS)
    os.kill(first.daemon.pid, signal.SIGHUP)
    until(lambda: " reload_done " in first.said(), "the reload")
    began = time.monotonic()
    until(lambda: len(second.all_parts()) == 2, "the second to have half", SESSION_SECONDS / 2)

    print(f"others had the partitions {time.monotonic() - began:.1f} s after the reload")
    feeder.feed()
    until(stage.all_ended, "every request to end")
    for vm in (first, second):
        stopped(vm)
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))


def test_partitions_that_a_dying_worker_gave_away_find_an_owner(stage: Stage) -> None:
    """Killed while it gives away: the broker takes the next one back without a rebalance."""
    stage.simulator.latency(Latency(median_seconds=2.0))
    first, second = (stage.vm(name, processes=1, drain_seconds=5) for name in ("vm-a", "vm-b"))
    stage.start(first)
    feeder = Feeder(stage, 40)
    feeder.feed()
    until(lambda: stage.in_flight() > 10, "calls in flight")
    had = first.all_parts()

    second.daemon.start()
    until(lambda: " revoked " in first.said(), "the first to give something away")
    (worker,) = first.workers().values()
    os.kill(worker, signal.SIGKILL)
    stage.simulator.latency(Latency(median_seconds=0.01))
    until(lambda: " join_anew " in first.said() + second.said(), "somebody to join anew")
    until(lambda: had == first.all_parts() | second.all_parts(), "every partition to be read")

    until(stage.all_ended, "every request to end")
    for vm in (first, second):
        stopped(vm)
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))


def test_another_store_is_refused(stage: Stage) -> None:
    """Two VMs that see different folders under one name: nobody knew whose a file is."""
    first = stage.start(stage.vm("vm-a"))
    other = stage.place.root / "other"
    other.mkdir()
    second = stage.vm("vm-b")
    second.config.write_text(second.config.read_text().replace(str(stage.place.output), str(other)))

    status, message, *more = refused(second)

    assert status == str(EXIT_CONFIG)
    assert "VM vm-a is alive and writes to another output" in message
    assert "mount the same folder on both" in message
    assert not more
    assert first.daemon.status() is None


def test_clones_that_start_at_once(stage: Stage) -> None:
    """Two with one machine id in the same moment: one is refused, the other works on."""
    clones = [stage.vm("vm-a"), stage.vm("vm-b", machine_id="vm-a")]
    for clone in clones:
        clone.daemon.start()
    until(lambda: any(clone.daemon.status() is not None for clone in clones), "a refusal")
    (other,) = [clone for clone in clones if clone.daemon.status() is None]
    until(lambda: " ready all " in other.said(), "the other to be ready")
    Feeder(stage, 40).feed()
    until(stage.all_ended, "every request to end")

    (refused_one,) = [clone for clone in clones if clone is not other]
    assert refused_one.daemon.status() == EXIT_CONFIG
    assert "with machine id vm-a" in refused_one.said()
    assert "ready all" not in refused_one.said()
    assert other.daemon.status() is None
    stopped(other)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"machine": "vm-a"}, "another live VM has the machine id vm-a (a cloned image?)"),
        ({"shared": False}, "VM vm-z is alive and VM vm-z has output.shared = false"),
        ({"store": "f" * 32}, "VM vm-z is alive and writes to another output"),
    ],
)
def test_living_vm_elsewhere_refuses(stage: Stage, told: dict[str, Any], words: str) -> None:
    """A VM of another machine, known by its records alone: seen to live, then obeyed."""
    vm = stage.vm("vm-a")
    given = {"machine": "vm-z", "incarnation": "i", "boot": "another", "shared": True}
    vm.daemon.start()
    while vm.daemon.status() is None:
        neighbour = Neighbour.model_validate({**given, "at": time.time(), **told})
        stage.producer.send(
            stage.topics.vms, neighbour.to_json(), key=neighbour.machine.encode(), partition=0
        )
        stage.confirm()
        pause(0.5)

    assert vm.daemon.status() == EXIT_CONFIG
    said = re.findall(r" CRITICAL reportd halt (.*) status=78$", vm.said(), re.MULTILINE)
    assert len(said) == 1
    assert words in said[0]


def test_other_configuration_is_a_warning(stage: Stage) -> None:
    """Both work, and each says in its status who runs another configuration, until it is the same.

    A VM's own id and metrics address are no difference.
    """
    vms = {name: stage.vm(name) for name in ("vm-a", "vm-b")}
    stage.configure(vms["vm-b"], drain_seconds=21)
    for vm in vms.values():
        stage.start(vm)
    warned_of = {"vm-a": "vm-b", "vm-b": "vm-a"}
    for name, other in warned_of.items():
        wait_for_warnings(vms[name], [f"another configuration runs on {other}"])

    stage.configure(vms["vm-b"])
    os.kill(vms["vm-b"].daemon.pid, signal.SIGHUP)
    for vm in vms.values():
        wait_for_warnings(vm, [])


def wait_for_warnings(vm: Vm, wanted: list[str]) -> None:
    """Wait until a VM's status warns of this about configurations, while it is ready."""
    metrics = load(vm.config, {}).settings.metrics

    def warns() -> bool:
        try:
            found = ask_observer(metrics)
        except OSError:  # the observer is just being replaced
            return False
        said = [warning for warning in found["warnings"] if "configuration" in warning]
        return bool(found["ready"]) and said == wanted

    until(warns, f"{vm.name} to warn of {wanted}")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_limits_of_the_whole_fleet_are_shown_on_each_vm(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever VM somebody asks: who holds each limit, and as many scopes as there are."""
    vms = both(stage)
    Feeder(stage, 40).feed()
    until(stage.all_ended, "every request to end")

    def scopes(vm: Vm) -> Counter[str]:
        capsys.readouterr()
        assert reportctl.main(["limits", "--config", str(vm.config), "--json"]) == 0
        found = orjson.loads(capsys.readouterr().out)
        held = Counter[str]()
        for one in (*found["limits"], *found["elsewhere"]["limits"]):
            held[f"{one['partner']} per {one['per']} on {one.get('vm', vm.name)}"] += one["scopes"]
        return held

    wanted = {
        f"{name} per {limit.per} on"
        for name, partner in stage.partners.items()
        for limit in partner.spec.limits
    }

    def are_shown() -> bool:
        held = scopes(vms[0])
        kinds = {key.rpartition(" ")[0] for key in held}
        holders = {key.rpartition(" ")[2] for key in held}
        same = held == scopes(vms[1])
        return same and wanted <= kinds and holders == {vm.name for vm in vms}

    until(are_shown, "both to show every limit, and both as holders")
    for vm in vms:
        stopped(vm)
