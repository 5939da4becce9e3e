"""Classes and accounts that share one limit, on a virtual clock: who gets what, whoever has work.

The real scheduler and limiter; new seeds each time, as in test_simulation.py.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from reportd.limits.limiter import Limiter, LimitRule, MeterName, Now, Scope
from reportd.model.request import CLASSES, RequestClass
from reportd.worker.entry import Entry
from reportd.worker.scheduler import CLASS_WEIGHTS, Scheduler
from tests.simulation.test_simulation import FIRST
from tests.unit.worker.making import entry

SEEDS = 8
PHASE_SECONDS = 24.0
SETTLED_SECONDS = 2.0
"""The limits' first window is over, and calls under way are of the phase."""
PHASES: tuple[tuple[RequestClass, ...], ...] = (
    ("daily", "restatement", "backfill"),
    ("restatement", "backfill"),
    ("backfill",),
    ("daily", "backfill"),
    ("daily", "restatement", "backfill"),
)
"""Which classes have work, one phase after the other."""
METERS: tuple[MeterName, ...] = ("bucket", "fixed", "sliding")
THREADS = 64
START = 1_000.0
"""On the monotonic clock."""
BULK = 500
"""So many requests one account of each class has waiting, where others have a few."""
FEW = 80


class Called(NamedTuple):
    """A call that was let go."""

    at: float
    class_: RequestClass
    account: str


@dataclass
class Shared:
    """One partition of a partner whose limit all calls share."""

    seed: int
    rate: float = 0.0
    calls: list[Called] = field(default_factory=list)

    def play(self) -> None:
        """Play all phases."""
        random = Random(self.seed)
        seconds = random.choice((1.0, 2.0))
        count = random.randint(20, 60)
        self.rate = count / seconds
        meter = random.choice(METERS)
        self._limiter = Limiter(
            [
                LimitRule(per="partner", calls=count, seconds=seconds, meter=meter, burst=3.0),
                LimitRule(per="account", calls=count, seconds=seconds, meter=meter, burst=3.0),
            ]
        )
        self._limiter.start(_at(0.0))
        self._scheduler = Scheduler(self._limiter)
        self._open = Counter[tuple[RequestClass, str]]()
        self._known: dict[str, Entry] = {}
        self._under_way: list[tuple[float, int, Entry]] = []
        accounts = {name: random.randint(3, 9) for name in CLASSES}
        at = 0.0
        for number, classes in enumerate(PHASES):
            while at < (number + 1) * PHASE_SECONDS:
                for name in classes:
                    self._fill(name, accounts[name])
                at = self._step(at, random)
            self._empty()

    def _fill(self, name: RequestClass, accounts: int) -> None:
        for number in range(accounts):
            account = f"{name}-{number}"
            while self._open[name, account] < (FEW if number else BULK):
                self._open[name, account] += 1
                self._scheduler.add(self._entry(account, name))

    def _entry(self, account: str, name: RequestClass) -> Entry:
        known = self._known.get(account)
        if known is None:
            known = self._known[account] = entry(account, class_=name)
        return Entry(
            message=known.message,
            request=known.request,
            replay=0,
            alive=known.alive,
            scopes=(Scope("partner", "acme"), Scope("account", account)),
        )

    def _empty(self) -> None:
        """Take away what waits: the next phase's classes have other requests."""
        self._scheduler.take_all()
        self._open.clear()
        for _, _, one in self._under_way:
            self._open[one.request.class_, one.request.account] += 1

    def _step(self, at: float, random: Random) -> float:
        while self._under_way and self._under_way[0][0] <= at:
            over = heapq.heappop(self._under_way)[2]
            self._open[over.request.class_, over.request.account] -= 1
            self._scheduler.call_over(over)
        if len(self._under_way) < THREADS:
            one = self._scheduler.next(_at(at), THREADS // 2)
            if one is not None:
                self.calls.append(Called(at, one.request.class_, one.request.account))
                ends_at = at + random.uniform(0.05, 0.3)
                heapq.heappush(self._under_way, (ends_at, len(self.calls), one))
                return at
        wake = self._scheduler.next_turn() - START
        if self._under_way:
            wake = min(wake, self._under_way[0][0])
        return max(wake, at + 0.001)

    def of_phase(self, number: int) -> list[Called]:
        """Return the calls of a phase, once it has settled."""
        start = number * PHASE_SECONDS
        return [
            call
            for call in self.calls
            if start + SETTLED_SECONDS <= call.at < start + PHASE_SECONDS
        ]


def _at(seconds: float) -> Now:
    return Now(START + seconds, 1_795_000_000.0 + seconds, START + seconds)


def test_classes_and_accounts_share_as_they_should() -> None:
    """By weight, to the full, at once when others have nothing, and evenly among accounts.

    An account with a bulk gets no more than one with a few.
    """
    for seed in range(FIRST, FIRST + SEEDS):
        played = Shared(seed)
        played.play()
        for number, classes in enumerate(PHASES):
            calls = played.of_phase(number)
            allowed = played.rate * (PHASE_SECONDS - SETTLED_SECONDS)
            assert len(calls) >= 0.99 * allowed - 2 * played.rate, f"seed {seed}: {number} idled"
            weights = sum(CLASS_WEIGHTS[name] for name in classes)
            by_class = Counter(call.class_ for call in calls)
            for name in classes:
                share = by_class[name] / len(calls)
                fair = CLASS_WEIGHTS[name] / weights
                assert abs(share - fair) < 0.02, f"seed {seed}: {number}: {name} has {share:.3f}"
                accounts = Counter(call.account for call in calls if call.class_ == name)
                most, least = max(accounts.values()), min(accounts.values())
                assert most - least <= 2, f"seed {seed}: {number}: {accounts}"
