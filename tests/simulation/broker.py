"""A broker with logs, a consumer group and commits, as far as the worker can tell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reportd.broker.message import Headers, Message
from tests.simulation.world import World

Part = tuple[str, int]
Key = tuple[str, int]
"""Partner and partition index: what is assigned."""


class Member(Protocol):
    """A worker as the group's coordinator sees it."""

    @property
    def responds(self) -> bool:
        """Whether it sends heartbeats now."""
        ...

    def assigned(self, keys: list[Key]) -> None:
        """Take partitions."""
        ...

    def revoke(self, keys: list[Key], done: Callable[[], None]) -> None:
        """Give partitions away, then call ``done``."""
        ...

    def lost(self) -> None:
        """Learn that the membership is gone."""
        ...


@dataclass
class Seat:
    """One static member id of the group."""

    member: Member
    owned: set[Key] = field(default_factory=set)
    revoking: set[Key] = field(default_factory=set)


class Broker:
    """Everything Kafka remembers."""

    def __init__(self, world: World, keys: list[Key], session_seconds: float) -> None:
        """Begin with empty logs."""
        self._world = world
        self._keys = keys
        self.session_seconds = session_seconds
        self.logs: dict[Part, list[Message | None]] = {}
        self.commits: dict[Part, tuple[int, str]] = {}
        self.seats: dict[str, Seat] = {}
        self._silences: dict[str, int] = {}
        """How often each name fell silent: one that was heard of meanwhile has a whole session."""
        self.late: set[tuple[Part, int]] = set()
        """Records that a process wrote after it had lost its membership."""

    def log(self, part: Part) -> list[Message | None]:
        """Return a partition's log; None stands for an offset that is never delivered."""
        return self.logs.setdefault(part, [])

    def end(self, part: Part) -> int:
        """Return the offset after the last record that is ever delivered."""
        log = self.log(part)
        return max((at + 1 for at, message in enumerate(log) if message is not None), default=0)

    def append(self, part: Part, key: bytes | None, value: bytes, headers: Headers = ()) -> int:
        """Write a record; return its offset."""
        log = self.log(part)
        offset = len(log)
        wall = self._world.now().wall
        log.append(Message(part[0], part[1], offset, key, value, headers, wall))
        return offset

    def gap(self, part: Part) -> None:
        """Leave an offset that no consumer ever gets: a transaction's marker."""
        self.log(part).append(None)

    # --- the group -------------------------------------------------------------------------

    def join(self, name: str, member: Member) -> None:
        """Take a member: a known name gets its partitions back at once (static membership)."""
        seat = self.seats.get(name)
        if seat is not None:
            seat.member = member
            seat.revoking.clear()
            member.assigned(sorted(seat.owned))
        else:
            self.seats[name] = Seat(member)
        self._balance()

    def silent(self, name: str, member: Member) -> None:
        """Start the session's time-out for a member that stopped responding."""
        self._silences[name] = since = self._silences.get(name, 0) + 1

        def expire() -> None:
            seat = self.seats.get(name)
            is_same = seat is not None and seat.member is member
            if is_same and not member.responds and self._silences[name] == since:
                del self.seats[name]
                self._balance()

        self._world.plan(self.session_seconds, expire)

    def leave(self, name: str) -> None:
        """Remove a member for good, as an expired session does."""
        if self.seats.pop(name, None) is not None:
            self._balance()

    def is_member(self, name: str, member: Member) -> bool:
        """Say whether this very process is the group's member of that name."""
        seat = self.seats.get(name)
        return seat is not None and seat.member is member

    def owns(self, name: str, member: Member, key: Key) -> bool:
        """Say whether this very process is a member to which the group has given a partition."""
        return self.is_member(name, member) and key in self.seats[name].owned

    def commit(
        self, name: str, member: Member, offsets: Mapping[Part, tuple[int, str]]
    ) -> list[tuple[str, int, str | None]]:
        """Take a commit from a member; from anybody else it is refused."""
        if not self.is_member(name, member):
            return [(topic, index, "unknown member") for topic, index in offsets]
        self.commits.update(offsets)
        return [(topic, index, None) for topic, index in offsets]

    def _balance(self) -> None:
        if not self.seats:
            return
        names = sorted(self.seats)
        taken = {key for seat in self.seats.values() for key in seat.owned}
        for key in self._keys:
            if key not in taken:
                name = min(names, key=lambda each: len(self.seats[each].owned))
                self._give(name, key)
        self._level(names)

    def _level(self, names: list[str]) -> None:
        most = -(-len(self._keys) // len(names))
        for name in names:
            seat = self.seats[name]
            spare = sorted(seat.owned - seat.revoking)[most:]
            if spare and seat.member.responds:
                seat.revoking.update(spare)
                self._revoke(name, seat, spare)

    def _revoke(self, name: str, seat: Seat, keys: list[Key]) -> None:
        member = seat.member

        def done() -> None:
            if self.is_member(name, member):
                seat.owned.difference_update(keys)
                seat.revoking.difference_update(keys)
                self._balance()

        member.revoke(keys, done)

    def _give(self, name: str, key: Key) -> None:
        seat = self.seats[name]
        seat.owned.add(key)
        seat.member.assigned([key])
