"""Who is next: fair turns among accounts, weighted turns among classes, as the limits allow.

One scheduler a partition, used by the engine in the worker's loop. Pure; not thread-safe.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator

from reportd.limits.limiter import Blocked, Limiter, Now, Scope
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


class Room:
    """Where the lines wait that one scope blocks: one of each class at a time is let out.

    Were all let out when it has room for one call, each call would look at every line.
    """

    __slots__ = ("is_quota", "lines", "until")

    def __init__(self) -> None:
        """Begin empty."""
        self.lines: dict[RequestClass, deque[Line]] = {name: deque() for name in CLASSES}
        self.until = 0.0
        self.is_quota = False


class Line:
    """The requests of one account and class that could start, oldest first."""

    __slots__ = ("account", "class_", "entries", "in_flight", "kinds", "queued", "room", "via")

    def __init__(self, account: str, class_: RequestClass) -> None:
        """Begin empty."""
        self.account = account
        self.class_ = class_
        self.entries: deque[Entry] = deque()
        self.queued = False
        self.room: Room | None = None
        """Where it waits for a scope."""
        self.via: Room | None = None
        """Which room has let it out, until it is known whether it may start."""
        self.in_flight = 0
        self.kinds: dict[tuple[Scope, ...], int] = {}
        """How many of its requests are in the same scopes."""

    def add(self, entry: Entry, *, first: bool) -> None:
        """Take a request in."""
        if first:
            self.entries.appendleft(entry)
        else:
            self.entries.append(entry)
        self.kinds[entry.scopes] = self.kinds.get(entry.scopes, 0) + 1

    def take(self, index: int) -> Entry:
        """Take a request out."""
        entry = self.entries[index]
        del self.entries[index]
        left = self.kinds.pop(entry.scopes) - 1
        if left:
            self.kinds[entry.scopes] = left
        return entry


class Scheduler:
    """Lines take turns within their class, classes by weight; nobody waits behind a blocked one."""

    def __init__(self, limiter: Limiter) -> None:
        """Use the partition's limiter."""
        self._limiter = limiter
        self._lines: dict[tuple[RequestClass, str], Line] = {}
        self._turns: dict[RequestClass, deque[Line]] = {name: deque() for name in CLASSES}
        self._passes: dict[RequestClass, float] = dict.fromkeys(CLASSES, 0.0)
        self._rooms: dict[Scope, Room] = {}
        self._opening: list[tuple[float, int, Scope]] = []
        self._later: list[tuple[float, int, Entry]] = []
        self._number = 0
        self.blocked_until = 0.0
        """Monotonic seconds until which the limits block everything here."""
        self._is_quota = False
        self.ready_count = 0
        """Requests in lines, blocked by a limit or not."""
        self._waiting = Counter[str]()

    def add(self, entry: Entry, *, first: bool = False) -> None:
        """Let a request wait for its turn; ``first``: before its account's others."""
        entry.state = State.READY
        key = (entry.request.class_, entry.request.account)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(entry.request.account, entry.request.class_)
        if line.room is not None and entry.scopes not in line.kinds:
            line.room.lines[line.class_].remove(line)  # what the room waits for may be none of its
            line.room = None
        line.add(entry, first=first)
        self.ready_count += 1
        self._waiting[line.account] += 1
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
        return self._waiting[account]

    def lengths(self) -> Counter[str]:
        """Return how many requests wait in lines by account."""
        return Counter(self._waiting)

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
        while self._opening and self._opening[0][0] <= now.mono:
            until, _, scope = heapq.heappop(self._opening)
            if scope in self._rooms and self._rooms[scope].until == until:
                self._open(scope)
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
        while turns:
            line = turns.popleft()
            line.queued = False
            if not line.entries or line.in_flight >= most_in_flight:
                self._let_out_next(line)
                self._forget(line)
                continue  # queued again when one of its calls is over
            index, blocked = self._first_of(line, now)
            if blocked is None:
                entry = line.take(index)
                line.in_flight += 1
                self.ready_count -= 1
                self._waiting[line.account] -= 1
                entry.grant = self._limiter.take(entry.scopes, now)
                entry.granted_at = now.mono
                self._behind_others(line)
                return entry
            until = now.mono + blocked.wait_seconds
            if blocked.scope.per == "partner":
                self.blocked_until = until
                self._is_quota = blocked.is_quota
                line.queued = True
                turns.appendleft(line)
                return None
            self._wait_for(blocked, line, until)
        return None

    def _wait_for(self, blocked: Blocked, line: Line, until: float) -> None:
        """Put a line aside until a scope has room: at the front where it had its turn there."""
        scope = blocked.scope
        room = self._rooms.get(scope)
        if room is None:
            room = self._rooms[scope] = Room()
        if line.via is room:
            room.lines[line.class_].appendleft(line)
            line.via = None
        else:
            room.lines[line.class_].append(line)
            self._let_out_next(line)
        line.room = room
        room.is_quota = blocked.is_quota
        if until != room.until:
            room.until = until
            if until < float("inf"):
                self._number += 1
                heapq.heappush(self._opening, (until, self._number, scope))

    def _behind_others(self, line: Line) -> None:
        """Queue a line that had its turn; after those in the room it came from, if there are."""
        room = line.via
        if room is not None and room.lines[line.class_] and line.entries:
            room.lines[line.class_].append(line)
            line.room = room
        self._let_out_next(line)
        self._queue(line)

    def _let_out_next(self, line: Line) -> None:
        """Let the next line of its class out of the room that had let this one out."""
        room, line.via = line.via, None
        if room is not None:
            self._let_out(room, line.class_)

    def _let_out(self, room: Room, class_: RequestClass) -> None:
        if room.lines[class_]:
            line = room.lines[class_].popleft()
            line.room, line.via = None, room
            self._queue(line)

    def _open(self, scope: Scope) -> None:
        room = self._rooms[scope]
        room.until = 0.0
        for name in CLASSES:
            self._let_out(room, name)
        if not any(room.lines.values()):
            del self._rooms[scope]

    def freed(self, scopes: Iterable[Scope]) -> None:
        """Look at these scopes again: something they had charged was given back, or granted."""
        self.blocked_until = 0.0
        for scope in scopes:
            if scope in self._rooms:
                self._open(scope)

    def _first_of(self, line: Line, now: Now) -> tuple[int, Blocked | None]:
        """Return a line's first request that may start, or what blocks the one that may soonest.

        A slow report does not keep an account's others.
        """
        soonest = self._limiter.blocked(line.entries[0].scopes, now)
        if soonest is None or soonest.scope.per in SHARED_KINDS or len(line.kinds) == 1:
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

    def put_back(self, entry: Entry) -> None:
        """Undo `next`: it was nobody's turn; the caller has given back what it was charged."""
        self._passes[entry.request.class_] -= 1.0 / CLASS_WEIGHTS[entry.request.class_]
        self.call_over(entry)
        self.add(entry, first=True)

    def waiting_for(self, now: Now) -> Counter[str]:
        """Return how many requests in lines wait for scopes of each kind."""
        found = Counter[str]()
        for scope, room in self._rooms.items():
            found[scope.per] += sum(
                len(line.entries) for lines in room.lines.values() for line in lines
            )
        if now.mono < self.blocked_until:
            found["partner"] = self.ready_count - found.total()
        return found

    def look_again(self) -> None:
        """Look at all limits again: they have changed."""
        self.blocked_until = 0.0
        for scope in list(self._rooms):
            self._open(scope)

    def next_due(self) -> float:
        """Return the monotonic time at which the next wait is over."""
        return self._later[0][0] if self._later else float("inf")

    def next_turn(self) -> float:
        """Return the monotonic time from which `next` may find a request."""
        if any(self._turns.values()):
            return self.blocked_until
        if self._opening:
            return max(self._opening[0][0], self.blocked_until)
        return float("inf")

    def state_of(self, class_: RequestClass, account: str, now: Now) -> State:
        """Return what an account's requests in line wait for: nothing, a limit, or a quota."""
        line = self._lines.get((class_, account))
        if line is not None and line.room is not None:
            return State.QUOTA if line.room.is_quota else State.LIMIT
        if now.mono < self.blocked_until:
            return State.QUOTA if self._is_quota else State.LIMIT
        return State.READY

    def take_all(self) -> list[Entry]:
        """Take all requests out of their lines, in order: their scopes are about to change.

        Nobody waits for a scope any more: it may be none of theirs from here on.
        """
        found: list[Entry] = []
        self._rooms.clear()
        self._opening.clear()
        self._waiting.clear()
        self.blocked_until = 0.0
        for line in list(self._lines.values()):
            found += line.entries
            line.entries.clear()
            line.kinds.clear()
            line.room = line.via = None
            self._forget(line)
        self.ready_count -= len(found)
        return found

    def _queue(self, line: Line) -> None:
        if not line.queued and line.room is None and line.entries:
            line.queued = True
            self._turns[line.class_].append(line)

    def _forget(self, line: Line) -> None:
        if not (line.entries or line.queued or line.room) and line.in_flight <= 0:
            self._lines.pop((line.class_, line.account), None)
            if not self._waiting[line.account]:
                del self._waiting[line.account]
