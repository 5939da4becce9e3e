"""The real crash test: kill -9, sleep past the session, two daemons, a broker's death.

Everything is real but the partners. Before anything is started again the test lists what is
durable by itself; a listed call that the simulator sees again is a broken promise.
"""

import json
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import pytest

from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.config import Faults, Latency
from reportd.demo.simulator.process import Simulator
from tests.system.stage import Feeder, Part, Stage, Vm, freeze, make_stage, stopped, thaw, until

IN_FLIGHT_LEAST = 50
ENDS_LEAST = 40
"""So many requests end between two rounds: everything works at full speed again."""
LOST_MEDIAN_MOST = 5
PATIENCE_SECONDS = 180.0
"""Until a broker is back, on a machine that has other things to do."""
LOAD_MOST = 3.0
"""Processes that want each CPU: above, nothing runs at full speed, and it is not judged."""
WORKER_KILLS_MOST = 2
"""Between two kills of one supervisor: three strikes would make a request a dead letter."""
SLOW = Latency(median_seconds=1.1, sigma=0.3, slow_share=0.01, slow_seconds=3.0)
QUICK = Latency(median_seconds=0.05)

CI_ROUNDS = ("worker", "supervisor", "zombie", "trade", "worker", "broker", "supervisor")
SOAK_ROUNDS = (
    *("worker",) * 8,
    *("supervisor",) * 6,
    *("zombie",) * 3,
    *("trade",) * 2,
    "broker",
)


@dataclass
class Figures:
    """What a round measured."""

    kind: str
    victim: str
    in_flight: int
    uncommitted: int
    lost: int | None = None
    """Calls answered completely, but not durable at the kill; None: nobody was killed."""
    oldest_lost_seconds: float = 0.0
    load: float = field(default_factory=lambda: os.getloadavg()[0] / (os.cpu_count() or 1))
    finished_listed: int = 0
    pages_listed: int = 0


@dataclass
class Crashes:
    """The rounds, on one stage."""

    stage: Stage
    feeder: Feeder
    chance: random.Random
    figures: list[Figures] = field(default_factory=list)
    settled_at: float = 0.0
    """Answers before it belong to an earlier round (monotonic)."""

    def run(self, kinds: list[str]) -> None:
        """Play all rounds."""
        while kinds:
            kind = kinds.pop(0)
            if kind == "worker" and all(
                vm.worker_kills >= WORKER_KILLS_MOST for vm in self.stage.vms.values()
            ):
                kinds.append(kind)
                kind = "supervisor"
                if kind in kinds:
                    kinds.remove(kind)
            self.feeder.feed()
            began = time.monotonic()
            play: Callable[[], Figures] = getattr(self, f"_{kind}")
            figures = play()
            self.settled_at = time.monotonic()
            self.figures.append(figures)
            print(f"{time.monotonic() - began:5.1f} s  {figures}")

    # --- the kinds of rounds

    def _worker(self) -> Figures:
        """Kill -9 one worker; its supervisor is held until the list is made."""
        vms = [vm for vm in self.stage.vms.values() if vm.worker_kills < WORKER_KILLS_MOST]
        vm, names = self._caught(lambda: self._one_of(vms, 1))
        return self._killed("worker", vm, names, lambda: thaw([vm.daemon.pid]))

    def _supervisor(self) -> Figures:
        """Kill -9 a supervisor and with it all of its daemon."""
        vms = list(self.stage.vms.values())
        vm, names = self._caught(lambda: self._one_of(vms, 99))
        return self._killed("supervisor", vm, names, lambda: self.stage.start(vm))

    def _zombie(self) -> Figures:
        """Freeze all workers of one daemon past the session; the other takes over; wake them."""
        vm, names = self._caught(lambda: self._one_of(list(self.stage.vms.values()), 99))
        thaw([vm.daemon.pid])  # it goes on watching
        parts = self._parts(vm, names)
        pids = [vm.workers()[name] for name in names]
        figures = self._figures("zombie", vm, names)
        other = self._other(vm)
        until(lambda: parts <= other.all_parts(), "the other daemon to take over")
        taken_at = time.monotonic()
        until(lambda: self._calls_for(parts, taken_at), "calls by the new owner")
        self._listed(figures)
        self.stage.woke()
        thaw(pids)
        until(vm.all_parts, "the woken to get partitions again")
        assert set(pids) == set(vm.workers().values()), f"not the same processes:\n{vm.said()}"
        return figures

    def _trade(self) -> Figures:
        """Stop one daemon; the other takes its partitions; start it, and it gets some back."""
        vm, names = self._caught(lambda: self._one_of(list(self.stage.vms.values()), 99))
        thaw([vm.daemon.pid, *vm.daemon.children()])
        parts = self._parts(vm, names)
        figures = self._figures("trade", vm, names)
        stopped(vm)
        self._listed(figures)
        other = self._other(vm)
        until(lambda: parts <= other.all_parts(), "the other daemon to take over")
        self.stage.start(vm)
        until(vm.all_parts, "partitions to come back")
        return figures

    def _broker(self) -> Figures:
        """Kill -9 the broker, and start it again."""
        vm, names = self._caught(lambda: self._one_of(list(self.stage.vms.values()), 99))
        figures = self._figures("broker", vm, names)
        thaw([vm.daemon.pid, *vm.daemon.children()])
        self.stage.kafka.kill()
        self._listed(figures, broker=False)
        self.stage.kafka.start(PATIENCE_SECONDS)
        before = len(self.stage.ledgers.ends)
        until(
            lambda: len(self.stage.follow().ends) > before + 20, "requests to end with the new one"
        )
        return figures

    # --- their parts

    def _one_of(self, vms: list[Vm], most: int) -> tuple[Vm, list[str]]:
        vm = self.chance.choice(sorted(vms, key=lambda one: one.name))
        parts = vm.parts()
        names = sorted(name for name in vm.workers() if parts.get(name))
        return vm, self.chance.sample(names, min(most, len(names)))

    def _caught(self, choose: Callable[[], tuple[Vm, list[str]]]) -> tuple[Vm, list[str]]:
        """Freeze a supervisor and workers of its at a moment that is worth a kill."""
        ends = len(self.stage.follow().ends)

        def catch() -> tuple[Vm, list[str]] | None:
            self.feeder.feed()
            for vm in self.stage.vms.values():
                status = vm.daemon.status()
                assert status is None, f"{vm.name} ended with {status}:\n{vm.daemon.said()}"
            if len(self.stage.ledgers.ends) < ends + ENDS_LEAST:
                return None
            vm, names = choose()
            self.in_flight = self.stage.in_flight()
            if not names or self.in_flight < IN_FLIGHT_LEAST:
                return None
            if self.stage.ended_lately(self._parts(vm, names)) <= 2 * len(names):
                return None
            running = vm.workers()
            pids = [vm.daemon.pid, *(running[name] for name in names if name in running)]
            self.caught_at = time.monotonic()
            freeze(pids)
            self.uncommitted = self.stage.uncommitted(self._parts(vm, names))
            if self.uncommitted and names:
                return vm, names
            thaw(pids)
            return None

        found = until(catch, f"{IN_FLIGHT_LEAST} calls in flight and something uncommitted")
        assert found is not None
        return found

    def _killed(
        self, kind: str, vm: Vm, names: list[str], start_again: Callable[[], object]
    ) -> Figures:
        parts = self._parts(vm, names)
        figures = self._figures(kind, vm, names)
        if kind == "worker":
            pid = vm.workers()[names[0]]
            vm.daemon.kill_child(pid)
            vm.worker_kills += 1
        else:
            vm.daemon.kill_all()
        self._listed(figures)
        listing = self.stage.listings[-1]
        start_again()
        ages = self.stage.answered_not_durable(listing, parts, self.settled_at, self.caught_at)
        figures.lost = len(ages)
        figures.oldest_lost_seconds = max(ages.values(), default=0.0)
        return figures

    def _figures(self, kind: str, vm: Vm, names: list[str]) -> Figures:
        victim = f"{vm.name} {' '.join(names)}"
        return Figures(kind, victim, self.in_flight, self.uncommitted)

    def _listed(self, figures: Figures, *, broker: bool = True) -> None:
        listing = self.stage.list_durable(broker=broker)
        figures.finished_listed = len(listing.finished)
        figures.pages_listed = len(listing.pages)

    def _parts(self, vm: Vm, names: list[str]) -> set[Part]:
        parts = vm.parts()
        return set().union(*(parts[name] for name in names))

    def _other(self, vm: Vm) -> Vm:
        return next(one for one in self.stage.vms.values() if one is not vm)

    def _calls_for(self, parts: set[Part], since: float) -> bool:
        names = self.stage.request_of()
        return any(
            call.at > since and self.stage.parts_of.get(names.get(call.question, "")) in parts
            for call in self.stage.simulator.calls()
        )


def crash_scene() -> Scene:
    """Return the demo's partners, slow enough for many calls in flight."""
    faults = Faults(error=0.02, reset=0.01, truncated=0.01, cut=0.005, html=0.005)
    roles = demo_scene().roles
    return Scene(
        tuple(
            replace(role, partner=replace(role.partner, latency=SLOW, faults=faults))
            for role in roles
        )
    )


def edit(_name: str, text: str) -> str:
    """Spread acme over more partitions."""
    return text.replace("partitions = 4", "partitions = 8")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Give a stage with a broker of its own: it will be killed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    scene = crash_scene()
    (tmp_path / "play").mkdir()
    with (
        EmbeddedKafka(tmp_path / "kafka") as kafka,
        Simulator(scene.simulated(tmp_path / "calls.jsonl")) as simulator,
    ):
        made = make_stage(tmp_path / "play", scene, kafka, simulator, "crash", edit)
        try:
            yield made
        finally:
            made.close()


def play(stage: Stage, rounds: tuple[str, ...], open_most: int) -> None:
    """Play the rounds in a seeded order, let everything end, and judge."""
    seed = int(os.environ.get("CRASH_SEED") or secrets.randbelow(1_000_000))
    chance = random.Random(seed)
    kinds = chance.sample(rounds, len(rounds))
    again = f"CRASH_SEED={seed} pytest tests/system/test_crash.py: {' '.join(kinds)}"
    print(again)
    crashes = Crashes(stage, Feeder(stage, open_most), chance)
    try:
        crashes.feeder.feed()
        stage.start(stage.vm("vm-a", processes=4, threads=32))
        stage.start(stage.vm("vm-b", processes=2, threads=32))
        crashes.run(kinds)
        conclude(stage, crashes.figures)
    except BaseException as error:
        error.add_note(f"to repeat: {again}")
        raise


def conclude(stage: Stage, figures: list[Figures]) -> None:
    """Let every request end, stop the daemons, and compare everything with everything."""
    stage.simulator.latency(QUICK)
    until(stage.all_ended, "every request to end", 120)
    for vm in stage.vms.values():
        stopped(vm)
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))
    lost = [one.lost for one in figures if one.lost is not None]
    calls = len(stage.simulator.calls())
    print(f"{len(stage.requests)} requests, {calls} calls; answered but not durable: {lost}")
    print(json.dumps([vars(one) for one in figures]))
    assert all(one.in_flight >= IN_FLIGHT_LEAST and one.uncommitted >= 1 for one in figures)
    judged = [one.lost for one in figures if one.lost is not None and one.load <= LOAD_MOST]
    print(f"their median: {median(lost):g}; {len(judged)} of {len(lost)} kills at full speed")
    if judged:
        assert median(judged) <= LOST_MEDIAN_MOST, f"answered but not durable: {judged}"


@pytest.mark.timeout(300)
def test_crashes(stage: Stage) -> None:
    """Whatever dies or sleeps, nothing finished is asked again, and every request ends once."""
    play(stage, CI_ROUNDS, open_most=150)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_crashes(stage: Stage) -> None:
    """Twenty rounds of it, with more requests."""
    play(stage, SOAK_ROUNDS, open_most=600)
