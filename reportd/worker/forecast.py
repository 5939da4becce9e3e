"""When work will be done: the real scheduler and limits on a virtual clock. Pure.

Used by ``reportctl plan``, one partition at a time: partitions share no limit.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from reportd.broker.message import Message
from reportd.limits.limiter import Limiter, Now
from reportd.model.request import Request
from reportd.worker.entry import Entry
from reportd.worker.partition import PartnerRules
from reportd.worker.scheduler import Scheduler

THREADS = "threads"
"""What binds where no limit does: calls that one worker can have under way."""
TIME = "time"
"""What binds where nothing may start yet."""
LOOK_EVERY = 256
LEAST_SECONDS = 1e-4
MOST_SECONDS = 60 * 86_400.0

_NOWHERE = Message("", 0, 0, None, b"")


@dataclass(slots=True)
class Work:
    """Requests that limits cannot tell apart: of one account, report and class."""

    request: Request
    """One of them."""
    count: int = 0
    calls: int = 1
    """Of each."""
    wait_seconds: float = 0.0
    """So long they may not start."""


@dataclass(slots=True)
class Forecast:
    """What came of it."""

    calls: int = 0
    seconds: float = 0.0
    unfinished: int = 0
    """Requests that had not ended after two months."""
    waits: Counter[str] = field(default_factory=Counter)
    """Milliseconds by what the account with the most to do waited for: a kind of scope."""

    @property
    def binds(self) -> str:
        """What it waited for the longest; empty: for nothing."""
        return self.waits.most_common(1)[0][0] if self.waits else ""


def forecast(
    rules: PartnerRules, works: Sequence[Work], start: Now, threads: int, call_seconds: float
) -> Forecast:
    """Play a partition's work from ``start`` on, every call taking ``call_seconds``."""
    return _Play(rules, works, start, threads, call_seconds).run()


class _Play:
    def __init__(
        self,
        rules: PartnerRules,
        works: Sequence[Work],
        start: Now,
        threads: int,
        call_seconds: float,
    ) -> None:
        self._rules = rules
        self._start = start
        self._threads = threads
        self._call_seconds = call_seconds
        self._limiter = Limiter(rules.limits)
        self._limiter.start(start)
        self._scheduler = Scheduler(self._limiter)
        self._works = {number: work for number, work in enumerate(works) if work.count}
        self._left = {number: work.count for number, work in self._works.items()}
        self._waiting = [(work.wait_seconds, number) for number, work in self._works.items()]
        self._of: dict[Entry, int] = {}
        self._ends: list[tuple[float, int, Entry]] = []
        self._number = 0
        self._found = Forecast()

    def run(self) -> Forecast:
        """Play until everything has ended."""
        heapq.heapify(self._waiting)
        seconds, largest = 0.0, None
        for turn in range(2**62):  # each starts a call, records grants, or lets time pass
            now = self._at(seconds)
            self._end_calls(now)
            while self._waiting and self._waiting[0][0] <= seconds:
                number = heapq.heappop(self._waiting)[1]
                # as many as can be under way: more in its line would say nothing else
                for _ in range(min(self._threads, self._works[number].count)):
                    self._add(number)
            if not (self._of or self._waiting) or seconds > MOST_SECONDS:
                break
            if len(self._ends) < self._threads:
                entry = self._scheduler.next(now, max(1, self._threads // 2))
                if entry is not None:
                    self._call(entry, now)
                    continue
            if self._limiter.wants_grants:
                for grant in self._limiter.to_record(now):
                    grant.quota.granted(grant.asked)
                continue
            if turn % LOOK_EVERY == 0 or largest not in self._of:
                largest = max(self._of, key=lambda one: self._left[self._of[one]], default=None)
            seconds = self._pass(largest, now)
        self._found.seconds = min(seconds, MOST_SECONDS)
        self._found.unfinished = sum(self._left.values()) + len(self._of)
        return self._found

    def _at(self, seconds: float) -> Now:
        start = self._start
        return Now(start.mono + seconds, start.wall + seconds, start.boot + seconds)

    def _add(self, number: int) -> None:
        request = self._works[number].request
        entry = Entry(
            message=_NOWHERE,
            request=request,
            replay=0,
            alive=lambda: True,
            scopes=self._rules.scopes_of(request),
        )
        self._left[number] -= 1
        self._of[entry] = number
        self._scheduler.add(entry)

    def _call(self, entry: Entry, now: Now) -> None:
        self._found.calls += 1
        self._number += 1
        entry.calls += 1
        heapq.heappush(self._ends, (now.mono + self._call_seconds, self._number, entry))

    def _end_calls(self, now: Now) -> None:
        while self._ends and self._ends[0][0] <= now.mono:
            entry = heapq.heappop(self._ends)[2]
            self._scheduler.call_over(entry)
            if entry.grant is not None:
                self._limiter.answered(entry.grant)
                entry.grant = None
            if self._limiter.frees_at_end:
                self._scheduler.freed(entry.scopes)
            number = self._of[entry]
            if entry.calls < self._works[number].calls:
                self._scheduler.add(entry, first=True)
                continue
            del self._of[entry]
            if self._left[number]:
                self._add(number)

    def _pass(self, largest: Entry | None, now: Now) -> float:
        """Let time pass until something can happen; note what for."""
        wakes = [self._ends[0][0]] if self._ends else []
        is_full = len(self._ends) >= self._threads
        if not is_full:
            wakes += [self._scheduler.next_turn(), self._scheduler.next_due()]
        if self._waiting:
            wakes.append(self._start.mono + self._waiting[0][0])
        wake = max(min(wakes), now.mono + LEAST_SECONDS)
        blocked = None if largest is None else self._limiter.blocked(largest.scopes, now)
        if largest is None:
            self._found.waits[TIME] += round((wake - now.mono) * 1000)
        elif is_full and blocked is None:
            self._found.waits[THREADS] += round((wake - now.mono) * 1000)
        elif blocked is not None:
            self._found.waits[blocked.scope.per] += round((wake - now.mono) * 1000)
        return wake - self._start.mono
