"""Who is next: fair turns among accounts, weighted turns among classes, as the limits allow.

One scheduler a partition, used by the engine in the worker's loop. Pure; not thread-safe.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from reportd.limits.limiter import Blocked, Limiter, Now
from reportd.model.request import CLASSES, RequestClass
from reportd.worker.entry import Entry, State

CLASS_WEIGHTS: dict[RequestClass, float] = {"daily": 16.0, "restatement": 4.0, "backfill": 1.0}
"""Turns of each class while all have work; what one leaves the others use."""

SHARED_KINDS = frozenset({"partner", "account"})
"""Scopes that all requests of a line are in: what blocks one of them blocks the line."""

RECHECK_SECONDS = 30.0
"""A wait for the wall clock is looked at again this often: the clock may be set."""


WAITING = frozenset(
    {State.LIMIT, State.BACKOFF, State.QUOTA, State.SCHEDULED, State.HELD, State.PENDING}
)
"""The states of requests that wait until they are due."""


class Line:
    """The requests of one account and class that could start, oldest first."""

    __slots__ = ("account", "class_", "delayed_until", "entries", "in_flight", "queued")

    def __init__(self, account: str, class_: RequestClass) -> None:
        """Begin empty."""
        self.account = account
        self.class_ = class_
        self.entries: deque[Entry] = deque()
        self.queued = False
        self.delayed_until = 0.0
        self.in_flight = 0


class Scheduler:
    """Lines take turns within their class, classes by weight; nobody waits behind a blocked one."""

    def __init__(self, limiter: Limiter) -> None:
        """Use the partition's limiter."""
        self._limiter = limiter
        self._lines: dict[tuple[RequestClass, str], Line] = {}
        self._turns: dict[RequestClass, deque[Line]] = {name: deque() for name in CLASSES}
        self._passes: dict[RequestClass, float] = dict.fromkeys(CLASSES, 0.0)
        self._delayed: list[tuple[float, int, Line]] = []
        self._later: list[tuple[float, int, Entry]] = []
        self._number = 0
        self.blocked_until = 0.0
        """Monotonic seconds until which the limits block everything here."""
        self.ready_count = 0
        """Requests in lines, blocked by a limit or not."""

    def add(self, entry: Entry, *, first: bool = False) -> None:
        """Let a request wait for its turn; ``first``: before its account's others."""
        entry.state = State.READY
        key = (entry.request.class_, entry.request.account)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(entry.request.account, entry.request.class_)
        if first:
            line.entries.appendleft(entry)
        else:
            line.entries.append(entry)
        self.ready_count += 1
        self._queue(line)

    def add_later(self, entry: Entry, state: State, due: float) -> None:
        """Let a request wait until ``due`` (monotonic seconds), shown as ``state``."""
        entry.state = state
        entry.due = due
        self._number += 1
        heapq.heappush(self._later, (due, self._number, entry))

    def due(self, now: Now) -> Iterator[Entry]:
        """Yield the requests whose wait is over; the caller adds them again."""
        while self._later and self._later[0][0] <= now.mono:
            due, _, entry = heapq.heappop(self._later)
            if entry.due == due and entry.state in WAITING and not entry.ended:
                yield entry

    def length_of(self, account: str) -> int:
        """Return how many requests of an account wait in lines, of all classes."""
        lines = (self._lines.get((name, account)) for name in CLASSES)
        return sum(len(line.entries) for line in lines if line)

    def lines_count(self) -> int:
        """Return how many accounts and classes have work."""
        return len(self._lines)

    def startable_count(self, enough: int) -> int:
        """Count the requests that no limit is known to block, up to ``enough``."""
        count = 0
        for turns in self._turns.values():
            for line in turns:
                count += len(line.entries)
                if count >= enough:
                    return count
        return count

    def next(self, now: Now, most_in_flight: int) -> Entry | None:
        """Take the next request that may start now, its limits charged; None: nobody may.

        ``most_in_flight``: how many calls one account may have under way, so that a slow one
        leaves threads to the others.
        """
        if now.mono < self.blocked_until:
            return None
        while self._delayed and self._delayed[0][0] <= now.mono:
            _, _, line = heapq.heappop(self._delayed)
            line.delayed_until = 0.0
            self._queue(line)
        for name in sorted(CLASSES, key=self._passes.__getitem__):
            entry = self._next_of(name, now, most_in_flight)
            if entry is not None:
                floor = min(self._passes[c] for c in CLASSES if self._turns[c] or c == name)
                self._passes[name] = max(self._passes[name], floor) + 1.0 / CLASS_WEIGHTS[name]
                for idle in CLASSES:
                    if not self._turns[idle]:
                        self._passes[idle] = max(self._passes[idle], floor)
                return entry
            if now.mono < self.blocked_until:
                return None
        return None

    def _next_of(self, name: RequestClass, now: Now, most_in_flight: int) -> Entry | None:
        turns = self._turns[name]
        for _ in range(len(turns)):
            line = turns.popleft()
            line.queued = False
            if not line.entries:
                self._forget(line)
                continue
            if line.in_flight >= most_in_flight:
                continue  # queued again when one of its calls is over
            index, blocked = self._first_of(line, now)
            if blocked is None:
                entry = line.entries[index]
                del line.entries[index]
                line.in_flight += 1
                self.ready_count -= 1
                entry.grant = self._limiter.take(entry.scopes, now)
                entry.granted_at = now.mono
                self._queue(line)
                return entry
            until = now.mono + blocked.wait_seconds
            if blocked.scope.per == "partner":
                self.blocked_until = until
                line.queued = True
                turns.appendleft(line)
                return None
            self._number += 1
            line.delayed_until = until
            heapq.heappush(self._delayed, (until, self._number, line))
        return None

    def _first_of(self, line: Line, now: Now) -> tuple[int, Blocked | None]:
        """Return a line's first request that may start, or what blocks the one that may soonest.

        A slow report does not keep an account's others.
        """
        soonest = self._limiter.blocked(line.entries[0].scopes, now)
        if soonest is None or soonest.scope.per in SHARED_KINDS:
            return 0, soonest
        seen = {line.entries[0].scopes}
        for index, entry in enumerate(line.entries):
            if entry.scopes in seen:
                continue
            seen.add(entry.scopes)
            blocked = self._limiter.blocked(entry.scopes, now)
            if blocked is None:
                return index, None
            soonest = min(soonest, blocked)
        return 0, soonest

    def call_over(self, entry: Entry) -> None:
        """Take note that a call of this request's account is not under way any more."""
        line = self._lines.get((entry.request.class_, entry.request.account))
        if line is not None:
            line.in_flight -= 1
            if line.entries:
                self._queue(line)
            elif not line.queued:
                self._forget(line)

    def next_due(self) -> float:
        """Return the monotonic time at which the next wait is over."""
        return self._later[0][0] if self._later else float("inf")

    def next_turn(self) -> float:
        """Return the monotonic time from which `next` may find a request."""
        if any(self._turns.values()):
            return self.blocked_until
        if self._delayed:
            return max(self._delayed[0][0], self.blocked_until)
        return float("inf")

    def changed(self, entry: Entry) -> None:
        """Look at the limits again: the grant of this request was given back."""
        self.blocked_until = 0.0
        for name in CLASSES:
            line = self._lines.get((name, entry.request.account))
            if line is not None:
                line.delayed_until = 0.0
                self._queue(line)

    def is_blocked(self, class_: RequestClass, account: str, now: Now) -> bool:
        """Say whether a limit keeps an account's next request from starting."""
        line = self._lines.get((class_, account))
        delayed = line is not None and now.mono < line.delayed_until
        return delayed or now.mono < self.blocked_until

    def take_out(self, unwanted: Callable[[Entry], bool]) -> list[Entry]:
        """Take requests that are not to run now out of their lines."""
        found = []
        for line in self._lines.values():
            gone = [entry for entry in line.entries if unwanted(entry)]
            if gone:
                line.entries = deque(entry for entry in line.entries if not unwanted(entry))
                found += gone
        self.ready_count -= len(found)
        return found

    def _queue(self, line: Line) -> None:
        if not line.queued and line.delayed_until == 0.0 and line.entries:
            line.queued = True
            self._turns[line.class_].append(line)

    def _forget(self, line: Line) -> None:
        if not line.entries and line.in_flight <= 0 and not line.queued:
            self._lines.pop((line.class_, line.account), None)
