"""Three daemons, one broker, one output: no limit is exceeded, and each is used to the full.

Counted by the partner, from when a call's last byte is there. What is used is looked at between
what happens, for as long as nothing moves; what is too much, all the time.
"""

import os
import re
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Faults, Latency, Limit
from reportd.demo.simulator.process import Simulator
from reportd.demo.simulator.usage import Usage, exceeded, limit_usage
from reportd.model.request import Request
from tests.system.conftest import MakeStage
from tests.system.stage import (
    Part,
    Stage,
    Vm,
    accounts_of,
    freeze,
    make_stage,
    stopped,
    thaw,
    until,
)

BURST = 20
"""Calls that a worker lets go at once; its partner's file allows twice as many."""
LIMITS = {
    "acme": Limit(per="account", calls=3, seconds=1, meter="bucket", burst=BURST + 1),
    "bolt": Limit(per="partner", calls=24, seconds=2, meter="fixed"),
    "crux": Limit(per="account", calls=6, seconds=2, meter="fixed"),
}
ACCOUNTS = {"acme": 6, "bolt": 8, "crux": 5}
PARTITIONS = {"acme": 6, "bolt": 1, "crux": 5}
AHEAD_SECONDS = 90.0
"""So much work waits, at the limits' pace, whatever takes how long."""
LATE_SECONDS = 2.0
"""How long a call may be under way to the partner on a machine that stalls."""
SHARE_LEAST = 0.99
PATIENCE_SECONDS = 180.0
"""Until something has settled, on a machine that has other things to do."""

CI_STORY = ("joins", "worker_dies", "sleeps", "leaves")
SOAK_STORY = ("joins", "worker_dies", "daemon_dies", "sleeps", "leaves", "broker_dies")

Limits = Mapping[str, Limit]


@dataclass(frozen=True)
class Pace:
    """How long it is looked at what is used, and from when on."""

    quiet_seconds: float
    """Partitions that have stood still for so long are taken to stay where they are."""
    steady_seconds: float


CI = Pace(quiet_seconds=0.5, steady_seconds=2.5)
SOAK = Pace(quiet_seconds=3.0, steady_seconds=45.0)


def raised(limits: Limits) -> Limits:
    """Return twice the calls."""
    return {name: replace(one, calls=2 * one.calls) for name, one in limits.items()}


def metered_scene(limits: Limits) -> Scene:
    """Return the demo's partners with these limits, no faults, and quick answers of a page."""
    return Scene(
        tuple(
            replace(
                role,
                accounts=ACCOUNTS[role.partner.name],
                days=1,
                formats=("parquet",),
                partner=replace(
                    role.partner,
                    limits=(limits[role.partner.name],),
                    faults=Faults(),
                    latency=Latency(median_seconds=0.05),
                    page_rows=1000,
                    gone_accounts=(),
                ),
            )
            for role in demo_scene().roles
        )
    )


def written(limits: Limits, name: str, text: str) -> str:
    """Return a partner's file with a limit, and with partitions for several workers."""
    limit = limits[name]
    stated = (
        f'limits = [{{ per = "{limit.per}", calls = {limit.calls}, seconds = {limit.seconds}, '
        f'meter = "{limit.meter}"{f", burst = {2 * BURST}" if limit.burst else ""} }}]\n'
        f"partitions = {PARTITIONS[name]}\n"
    )
    text = re.sub(r"^partitions = .*\n", "", text, flags=re.MULTILINE)
    text = text.replace("size = 10", "size = 1000")
    text, count = re.subn(
        r"^limits = \[.*?\]\n", stated, text, count=1, flags=re.MULTILINE | re.DOTALL
    )
    assert count == 1
    return text


@dataclass
class Demand:
    """Keeps more waiting for each account than its limit lets through."""

    stage: Stage
    limits: Limits
    calls: list[SeenCall] = field(default_factory=list)
    """As they arrived; how they end is not known here."""
    asked: Counter[str] = field(default_factory=Counter)
    called: Counter[str] = field(default_factory=Counter)

    def top_up(self) -> None:
        """Write what is missing."""
        news = self.stage.simulator.calls(len(self.calls))
        self.calls += news
        self.called.update(call.account for call in news)
        for account, role in accounts_of(self.stage.scene):
            limit = self.limits[account.partner]
            rate = limit.calls / limit.seconds
            rate /= role.accounts if limit.per == "partner" else 1
            name = account.account
            while self.asked[name] < self.called[name] + rate * AHEAD_SECONDS:
                self.stage.ask(account, role, self.asked[name])
                self.asked[name] += 1
        self.stage.confirm()


@dataclass
class Phase:
    """What went before, and the time since, in which nothing happened (monotonic seconds)."""

    after: str
    happened_at: float
    since: float
    until: float


@dataclass
class Fleet:
    """The daemons, and what is done to them."""

    stage: Stage
    demand: Demand
    pace: Pace
    phases: list[Phase] = field(default_factory=list)
    asleep: set[str] = field(default_factory=set)
    """VMs whose workers stand still."""

    def begin(self, *names: str) -> None:
        """Start some VMs, and let them work for a while."""
        happened_at = time.monotonic()
        self.demand.top_up()
        for name in names:
            self.stage.start(self._vm(name))
        self.steady("start", happened_at)

    def play(self, story: Sequence[str]) -> None:
        """Let all of it happen, and everything settle after each."""
        for what in story:
            happened_at = time.monotonic()
            happen: Callable[[], None] = getattr(self, f"_{what}")
            happen()
            self.steady(what, happened_at)

    def steady(self, after: str, happened_at: float) -> None:
        """Wait until nothing moves any more, and then for a while."""
        self._settle(happened_at)
        since = time.monotonic()
        self._while_working(
            lambda: time.monotonic() - since >= self.pace.steady_seconds, "the time"
        )
        self.phases.append(Phase(after, happened_at, since, time.monotonic()))

    def _vm(self, name: str) -> Vm:
        """Return a VM that takes no sleeping worker for a wedged one, however long it sleeps."""
        return self.stage.vms.get(name) or self.stage.vm(name, heartbeat_limit_seconds=3600)

    # --- what happens

    def _joins(self) -> None:
        vm = self._vm("vm-c")
        self.stage.start(vm)
        self._while_working(lambda: bool(vm.all_parts()), "the new one to have partitions")

    def _worker_dies(self) -> None:
        vm, name = self._busiest()
        pid = vm.workers()[name]
        vm.daemon.kill_child(pid)
        self._while_working(lambda: vm.workers().get(name, pid) != pid, "another worker")

    def _daemon_dies(self) -> None:
        vm, _ = self._busiest()
        had = vm.all_parts()
        vm.daemon.kill_all()
        self._while_working(lambda: self._owned() >= had, "others to take over")
        self.stage.start(vm)
        self._while_working(lambda: bool(vm.all_parts()), "partitions to come back")

    def _sleeps(self) -> None:
        """Stand still past the session, wake up, and find that others have it all."""
        vm, _ = self._busiest()
        had, pids = vm.all_parts(), list(vm.workers().values())
        freeze(pids)
        self.asleep.add(vm.name)
        self._while_working(lambda: self._owned() >= had, "others to take over")
        taken_at, losses = time.monotonic(), vm.said().count(" lost ")
        accounts = {one.account for one in self.stage.requests.values() if self._part(one) in had}
        self._while_working(lambda: self._called(taken_at) >= accounts, "calls by the new owners")
        thaw(pids)
        self.asleep.clear()
        self._while_working(lambda: vm.said().count(" lost ") > losses, "the woken to see it")

    def _leaves(self) -> None:
        vm = self.stage.vms["vm-c"]
        stopped(vm)
        assert reportctl.main(["leave", "--config", str(vm.config)]) == 0

    def _broker_dies(self) -> None:
        self.stage.kafka.kill()
        self.stage.kafka.start(PATIENCE_SECONDS)

    # --- what is waited for

    def _alive(self) -> list[Vm]:
        return [vm for vm in self.stage.vms.values() if vm.daemon.status() is None]

    def _owned(self) -> set[Part]:
        """Return the partitions of those who are awake."""
        awake = [vm for vm in self._alive() if vm.name not in self.asleep]
        return set().union(*(vm.all_parts() for vm in awake))

    def _busiest(self) -> tuple[Vm, str]:
        """Return the worker with the most partitions."""
        having = {(vm.name, name): had for vm in self._alive() for name, had in vm.parts().items()}
        vm, name = max(sorted(having), key=lambda one: len(having[one]))
        return self.stage.vms[vm], name

    def _part(self, request: Request) -> Part:
        return self.stage.parts_of[request.id]

    def _called(self, since: float) -> set[str]:
        """Return the accounts that were called since (monotonic seconds)."""
        return {call.account for call in self.demand.calls if call.at > since}

    def _settle(self, happened_at: float) -> None:
        everything = {
            (self.stage.topics.requests(name), number)
            for name, partner in self.stage.partners.items()
            for number in range(partner.partitions)
        }
        accounts = {account.account for account in self.stage.scene.accounts()}
        seen: list[tuple[str, dict[str, int], dict[str, set[Part]]]] = []
        moved_at = time.monotonic()

        def is_settled() -> bool:
            nonlocal seen, moved_at
            now_seen = [(vm.name, vm.workers(), vm.parts()) for vm in self._alive()]
            if now_seen != seen:
                seen, moved_at = now_seen, time.monotonic()
            return (
                time.monotonic() - moved_at > self.pace.quiet_seconds
                and self._owned() == everything
                and self._called(happened_at) == accounts
            )

        self._while_working(is_settled, "everything to be read and called")

    def _while_working(self, found: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            self.demand.top_up()
            return found()

        until(look, what, PATIENCE_SECONDS)


# --- what came of it


@dataclass(frozen=True)
class Counted:
    """The calls as the partners saw them, and what they say of the limits."""

    calls: Mapping[str, Sequence[SeenCall]]
    """By partner."""

    def over(self, limits: Limits, late_seconds: float) -> dict[str, int]:
        """Return how many calls of each partner were too many."""
        return {name: exceeded(one, self.calls[name], late_seconds) for name, one in limits.items()}

    def between(self, since: float, until: float) -> "Counted":
        """Return those that came between two instants."""
        return Counted(
            {
                name: [call for call in calls if since <= call.at < until]
                for name, calls in self.calls.items()
            }
        )

    def used(self, limits: Limits) -> dict[str, Usage]:
        """Return how much of each partner's limit was used; no scope makes up for another."""
        found = {}
        for name, limit in limits.items():
            of = defaultdict[str, list[SeenCall]](list)
            for call in self.calls[name]:
                of["" if limit.per == "partner" else call.account].append(call)
            each = [limit_usage(limit, calls) for calls in of.values()]
            used = sum(min(one.used, one.allowed) for one in each)
            found[name] = Usage(used, sum(one.allowed for one in each))
        return found

    def longest_pause(self, name: str) -> float:
        """Return the longest time without a call that an account of a partner had."""
        times = defaultdict[str, list[float]](list)
        for call in self.calls[name]:
            times[call.account].append(call.at)
        return max((b - a for found in times.values() for a, b in pairwise(found)), default=0.0)


def counted(stage: Stage) -> Counted:
    """Ask the simulator for all calls."""
    calls = stage.simulator.calls()
    return Counted(
        {name: [call for call in calls if call.partner == name] for name in stage.partners}
    )


def told(fleet: Fleet, found: Counted, limits: Sequence[Limits]) -> list[float]:
    """Print what came of each phase, and return the share of each limit that was used in all."""
    sums = defaultdict[str, list[Usage]](list)
    for phase, kept in zip(fleet.phases, limits, strict=True):
        steady = found.between(phase.since, phase.until)
        shares = steady.used(kept)
        pauses = found.between(phase.happened_at - 1.0, phase.since)
        for name, usage in shares.items():
            sums[name].append(usage)
        calm, stirred = phase.until - phase.since, phase.since - phase.happened_at
        print(
            f"{phase.after:<12} settled after {stirred:.1f} s, steady for {calm:.1f} s;",
            *(
                f"{name} {usage.share:.2%} used, paused for {pauses.longest_pause(name):.1f} s;"
                for name, usage in shares.items()
            ),
        )
    totals = {
        name: Usage(sum(one.used for one in all_), sum(one.allowed for one in all_))
        for name, all_ in sums.items()
    }
    print("in all:", *(f"{name} {usage.share:.2%};" for name, usage in totals.items()))
    return [usage.share for usage in totals.values()]


def assert_kept(found: Counted, limits: Limits, what: str) -> None:
    """See that no window held too many."""
    print(
        f"{what}: {sum(map(len, found.calls.values()))} calls, too many by the partner's meter:"
        f" {found.over(limits, 0.0)}, beyond what {LATE_SECONDS:g} s on the way explain:"
        f" {found.over(limits, LATE_SECONDS)}"
    )
    assert found.over(limits, LATE_SECONDS) == dict.fromkeys(limits, 0), what


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Give a stage with a broker of its own: it will be killed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    scene = metered_scene(LIMITS)
    (tmp_path / "play").mkdir()
    with (
        EmbeddedKafka(tmp_path / "kafka") as kafka,
        Simulator(scene.simulated(tmp_path / "calls.jsonl")) as simulator,
    ):
        made = make_stage(
            tmp_path / "play", scene, kafka, simulator, "fleet", partial(written, LIMITS)
        )
        try:
            yield made
        finally:
            made.close()


def fleet_story(stage: Stage, story: Sequence[str], pace: Pace) -> list[float]:
    """Let a fleet live through a story; return what was used of each limit."""
    fleet = Fleet(stage, Demand(stage, LIMITS), pace)
    fleet.begin("vm-a", "vm-b")
    fleet.play(story)
    for vm in stage.vms.values():
        if vm.daemon.status() is None:
            stopped(vm)
    found = counted(stage)
    shares = told(fleet, found, [LIMITS] * len(fleet.phases))
    assert_kept(found, LIMITS, "all the time")
    return shares


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_fleet_keeps_limits(make_a_stage: MakeStage) -> None:
    """Whoever joins, dies, sleeps or leaves: at no time does a limit's window hold too much."""
    fleet_story(make_a_stage(metered_scene(LIMITS), partial(written, LIMITS)), CI_STORY, CI)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_fleet_uses_limits(stage: Stage) -> None:
    """And between all that, they are used to the full."""
    shares = fleet_story(stage, SOAK_STORY, SOAK)

    assert all(share >= SHARE_LEAST for share in shares)


def reload_story(stage: Stage, pace: Pace) -> list[float]:
    """Raise all limits in a fleet, VM by VM, and lower them again; return what was used."""
    higher = raised(LIMITS)
    fleet = Fleet(stage, Demand(stage, higher), pace)
    fleet.begin("vm-a", "vm-b")
    raised_from, _ = reload(fleet, higher, "raised")
    _, lowered_at = reload(fleet, LIMITS, "lowered")
    for vm in stage.vms.values():
        stopped(vm)
    found = counted(stage)
    shares = told(fleet, found, [LIMITS, higher, LIMITS])
    assert_kept(found.between(0.0, raised_from), LIMITS, "while an old worker ran")
    assert_kept(found, higher, "all the time")
    assert_kept(found.between(lowered_at, float("inf")), LIMITS, "lowered")
    return shares


def reload(fleet: Fleet, limits: Limits, what: str) -> tuple[float, float]:
    """Reload all with other limits; return until when an old worker ran, and when all was done."""
    happened_at = time.monotonic()
    for file in fleet.stage.place.partners.glob("*.toml"):
        file.write_text(written(limits, file.stem, file.read_text()))
    old_until = 0.0
    for vm in fleet.stage.vms.values():
        old, done = set(vm.workers().values()), vm.said().count(" reload_done ")
        os.kill(vm.daemon.pid, signal.SIGHUP)

        def is_done(vm: Vm = vm, old: set[int] = old, done: int = done) -> bool:
            nonlocal old_until
            began = time.monotonic()
            if vm is next(iter(fleet.stage.vms.values())) and old & set(vm.workers().values()):
                old_until = began
            return vm.said().count(" reload_done ") > done

        until(is_done, "the reload")
    done_at = time.monotonic()
    fleet.steady(what, happened_at)
    return old_until, done_at


@pytest.mark.long
@pytest.mark.timeout(600)
def test_other_limits_hold_from_the_reload_on(make_a_stage: MakeStage) -> None:
    """Raised limits are obeyed once the last old worker is gone, lowered ones at once."""
    reload_story(make_a_stage(metered_scene(raised(LIMITS)), partial(written, LIMITS)), CI)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_other_limits_are_used(make_a_stage: MakeStage) -> None:
    """The old ones before, the new ones after."""
    shares = reload_story(
        make_a_stage(metered_scene(raised(LIMITS)), partial(written, LIMITS)), SOAK
    )

    assert all(share >= SHARE_LEAST for share in shares)
