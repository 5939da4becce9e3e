"""Pause, slow down, cancel: a real daemon, a real broker, the real command line."""

import json
import time
from typing import Any

import pytest

from reportd.cli import reportctl
from reportd.cli.observing import ask_observer
from reportd.config.load import load
from reportd.model.run import Claim
from tests.system.stage import RUN, Feeder, Stage, Vm, accounts_of, stopped, until

ACCOUNTS = 4
STRAGGLER_SECONDS = 2.0
"""A call that was handed to a thread before its worker heard of the pause has left by then."""


def reportctl_of(vm: Vm, *command: str) -> None:
    """Run a command with a VM's configuration; it must succeed."""
    assert reportctl.main([*command, "--config", str(vm.config)]) == 0


def heard(vm: Vm, words: str) -> int:
    """Return how many processes have said that something is in force."""
    return vm.said().count(f"controls_heard in force: {words}")


def shown(vm: Vm, state: str, partner: str = "acme") -> int:
    """Return how many requests of a partner the VM's observer shows in a state."""
    partners = ask_observer(load(vm.config).settings.metrics)["partners"]
    return int(partners[partner]["states"].get(state, 0)) if partner in partners else -1


def called_after(stage: Stage, account: str, since: float) -> int:
    """Return how many calls of an account came later than the stragglers may."""
    return sum(
        call.account == account and call.at > since + STRAGGLER_SECONDS
        for call in stage.simulator.calls()
    )


def open_now(stage: Stage) -> set[str]:
    """Return what is open as the ledgers have it now."""
    stage.follow()
    return stage.open_ids()


def open_of(stage: Stage, account: str) -> set[str]:
    """Return the open requests of an account."""
    return {name for name in stage.open_ids() if stage.requests[name].account == account}


def requests_of(vm: Vm, account: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what ``reportctl requests`` says of an account."""
    capsys.readouterr()
    reportctl_of(vm, "requests", "--account", account, "--json")
    return json.loads(capsys.readouterr().out)


def concluded(stage: Stage, vm: Vm) -> None:
    """Stop, and see that every promise was kept."""
    stopped(vm)
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))


def test_a_paused_account_waits_also_after_a_restart(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others go on, nothing fails; not even a new daemon calls for it; then it goes on."""
    stage.simulator.hold()
    vm = stage.vm("vm-a")
    Feeder(stage, 60 * ACCOUNTS).feed()
    account = next(iter(stage.requests.values())).account
    stage.start(vm)
    until(lambda: stage.in_flight() >= ACCOUNTS, "calls in flight")

    scope = f"acme/{account}"
    reportctl_of(vm, "pause", scope, "--reason", "a new login", "--who", "ada")
    words = f"pause {scope}"
    until(lambda: heard(vm, words) >= len(vm.workers()), "the workers to hear of it")
    since = time.monotonic()
    stage.simulator.release()
    until(lambda: open_now(stage) == open_of(stage, account), "the others to end")
    waiting = len(stage.open_ids())
    assert waiting
    until(lambda: shown(vm, "paused") == waiting, "the pause to be shown")
    vm.daemon.kill_all()
    stage.start(vm)
    until(lambda: shown(vm, "paused") == waiting, "the new daemon to show it")
    assert called_after(stage, account, since) == 0
    reportctl_of(vm, "status")
    said = capsys.readouterr().out
    assert "ada" in said
    assert "a new login" in said

    document = requests_of(vm, account, capsys)
    assert {one["state"] for one in document["open"]} <= {"paused"}
    assert len(document["ended"]) == len(stage.requests) // ACCOUNTS - waiting
    assert f"{waiting} of any account are paused" in " ".join(document["notes"])

    reportctl_of(vm, "resume", scope)
    until(stage.all_ended, "every request to end")
    until(lambda: shown(vm, "paused") == 0, "nothing to be paused")
    document = requests_of(vm, account, capsys)
    assert document["open"] == []
    assert all(one["state"] == "result" and one["files"] for one in document["ended"])
    assert len(document["ended"]) == len(stage.requests) // ACCOUNTS
    concluded(stage, vm)


def test_a_cancelled_run_ends_and_what_is_finished_stays(stage: Stage) -> None:
    """It is still being enqueued: calls under way end as they end, what comes later is not called.

    Nor by a new daemon.
    """
    stage.simulator.hold()
    vm = stage.vm("vm-a")
    Feeder(stage, 60 * ACCOUNTS).feed()
    claim = Claim(run=RUN, machine="m", claimed_at=0.0, expires_at=600.0)
    stage.producer.send(stage.topics.runs, claim.to_json(), key=RUN.encode())
    stage.confirm()
    stage.start(vm)
    until(lambda: stage.in_flight() >= ACCOUNTS, "calls in flight")

    reportctl_of(vm, "cancel", RUN.partition("#")[0], "--reason", "wrong accounts")
    words = f"cancel run:{RUN}"
    until(lambda: heard(vm, words) >= len(vm.workers()), "the workers to hear of it")
    stage.simulator.release()
    until(stage.all_ended, "every request to end")

    calls = len(stage.simulator.calls())
    counts = stage.ledgers.counts("result"), stage.ledgers.counts("cancelled")
    assert counts == (calls, len(stage.requests) - calls)
    stopped(vm)
    account, role = next(accounts_of(stage.scene))
    stage.ask(account, role, 1000)
    stage.confirm()
    stage.start(vm)
    until(stage.all_ended, "the late one to end")
    assert len(stage.simulator.calls()) == calls
    concluded(stage, vm)


SLOWLY, RATE = "2%", 2.0
"""Of a hundred calls a second an account."""
LOOKED_SECONDS = 5.0


def all_heard(vms: list[Vm], words: str) -> float:
    """Wait until each worker of each VM has heard of something; return how long that took."""
    began = time.monotonic()
    until(lambda: all(heard(vm, words) >= len(vm.workers()) for vm in vms), f"all to hear: {words}")
    return time.monotonic() - began


def all_are_paused(stage: Stage, vms: list[Vm]) -> bool:
    """Say whether every open request is paused: then no call is under way, nor on its way."""
    return sum(shown(vm, "paused") for vm in vms) == len(open_now(stage)) > 0


def calls_since(stage: Stage, began: float, ended: float = float("inf")) -> int:
    """Return how many calls came between two instants."""
    return sum(began < call.at <= ended for call in stage.simulator.calls())


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_vm_hears_what_is_asked_for(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Paused, slowed down, let go, cancelled: on two VMs, whichever of them the command runs on.

    The seconds are printed, and not asserted: two, on a machine that is not busy.
    """
    vms = [stage.vm(name, processes=1, vms=2) for name in ("vm-a", "vm-b")]
    for vm in vms:
        stage.start(vm)
    until(lambda: all(vm.all_parts() for vm in vms), "both to have partitions")
    claim = Claim(run=RUN, machine="m", claimed_at=0.0, expires_at=600.0)
    stage.producer.send(stage.topics.runs, claim.to_json(), key=RUN.encode())
    took: dict[str, float] = {}
    feeder = Feeder(stage, 300 * ACCOUNTS)

    def has_begun() -> bool:
        feeder.feed()
        return calls_since(stage, 0.0) > 0

    until(has_begun, "work for both")

    reportctl_of(vms[0], "pause", "acme")
    took["pause"] = all_heard(vms, "pause acme")
    until(lambda: all_are_paused(stage, vms), "what was under way to end")
    calls = len(stage.simulator.calls())
    feeder.feed()
    until(lambda: all_are_paused(stage, vms), "what came later to be paused")
    assert len(stage.simulator.calls()) == calls

    reportctl_of(vms[1], "slow", "acme", "--to", SLOWLY)
    took["slow"] = all_heard(vms, f"slow acme to {SLOWLY}")
    began = time.monotonic()
    until(
        lambda: calls_since(stage, began) > ACCOUNTS and time.monotonic() > began + LOOKED_SECONDS,
        "some slow calls",
    )
    ended = time.monotonic()
    most = ACCOUNTS * (RATE * (ended - began) + 2)
    slowly = calls_since(stage, began, ended)
    assert slowly <= 1.5 * most

    reportctl_of(vms[0], "resume", "acme")
    took["resume"] = all_heard(vms, "nothing")
    since = time.monotonic()
    until(lambda: calls_since(stage, since) > 10 * ACCOUNTS, "both to call on")

    reportctl_of(vms[1], "cancel", RUN)
    took["cancel"] = all_heard(vms, f"cancel run:{RUN}")
    stage.ask(*next(accounts_of(stage.scene)), 100_000)
    stage.confirm()
    until(stage.all_ended, "every request to end")
    assert stage.ledgers.counts("cancelled") > 0
    heard_after = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in took.items())
    with capsys.disabled():
        print(f"\nheard on both VMs after: {heard_after}")
        print(f"slowed down: {slowly} calls, {most:.0f} are allowed")
    stopped(vms[0])
    concluded(stage, vms[1])
