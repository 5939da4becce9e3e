"""Which offsets of one topic's partition are open: what to commit, what is parked.

Used by the engine in the worker's loop, one book for ``requests.P[i]`` and one for
``backfill.P[i]``. Pure; not thread-safe.
"""

from array import array
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from reportd.worker.spans import Spans
from reportd.worker.stamps import Stamps


class Paused(NamedTuple):
    """Why an offset is parked: somebody paused this scope; and of which run its request is."""

    scope: str
    run: str


class Later(NamedTuple):
    """Why an offset is parked: its request's days are not over; and of which run it is."""

    at: int
    """Epoch seconds from which it may be read again."""
    run: str


class Refused(NamedTuple):
    """Why an offset is parked: its request's credential is refused; and of which run it is."""

    credential: str
    run: str


ParkKey: TypeAlias = str | Paused | Later | Refused
"""What parked offsets wait for: room for the account of that name, a pause's end, a time, or a
credential."""

_FINISHED, _OPEN, _PARKED = 0, 1, 2
"""States of an offset; from the last one on: parked, by the number of its key."""
_SHORTEN_FROM = 4096
"""So many finished ones at the front are forgotten at once."""


class OffsetBook:
    """Offsets finish out of order; the commit is the first unfinished one.

    An offset that is never delivered (a transaction marker, a gap) counts as finished. Four bytes
    for each offset from the commit on; parked ones cost more, neighbours of one key together.
    """

    def __init__(self, start: int) -> None:
        """Begin at the committed offset, or at the low watermark where there is none."""
        self.position = start
        """The next offset never delivered before."""
        self.cursor = start
        """The next offset that reading goes on from; behind ``position`` while parked ones are
        read again."""
        self.committed = start
        """The last offset whose commit was accepted."""
        self.open_count = 0
        """How many delivered offsets are unfinished, parked ones among them."""
        self.parked_count = 0
        """How many offsets are parked: known to be open, their messages forgotten."""
        self.parked_spans = 0
        """How many stretches of neighbours the parked ones are: what they cost."""
        self.stamps = Stamps()
        """When what is delivered was written."""
        self._base = start
        self._states = array("I")
        self._finished_to = 0
        """Before this index of the states there are none but finished ones."""
        self._parked: dict[ParkKey, Spans] = {}
        self._numbers: dict[ParkKey, int] = {}
        self._keys: dict[int, ParkKey] = {}
        self._last_number = _PARKED

    def deliver(self, offset: int) -> bool:
        """Take note of a message; True if it is new, or a parked one that is read again."""
        self.cursor = offset + 1
        if offset < self.position:
            return self._state(offset) >= _PARKED
        if not self.open_count:
            self._states = array("I")
            self._base, self._finished_to = offset, 0
        elif offset > self.position:
            self._states.frombytes(bytes(self._states.itemsize * (offset - self.position)))
        self._states.append(_OPEN)
        self.position = offset + 1
        self.open_count += 1
        return True

    def close(self, offset: int) -> None:
        """Count an offset as finished; its end is confirmed in the ledger."""
        if self._state(offset) == _OPEN:
            self._states[offset - self._base] = _FINISHED
            self.open_count -= 1

    def commit_position(self) -> int:
        """Return the first unfinished offset."""
        states, index = self._states, self._finished_to
        if not self.open_count:
            return self.position
        while states[index] == _FINISHED:
            index += 1
        if index >= _SHORTEN_FROM and 2 * index >= len(states):
            del states[:index]
            self._base += index
            index = 0
        self._finished_to = index
        return self._base + index

    def is_open(self, offset: int) -> bool:
        """Say whether an offset was delivered and is unfinished."""
        return self._state(offset) != _FINISHED

    @property
    def paused_count(self) -> int:
        """How many of the parked ones are because of a pause."""
        return self._count_of(Paused)

    @property
    def later_count(self) -> int:
        """How many of the parked ones wait for a time."""
        return self._count_of(Later)

    @property
    def refused_count(self) -> int:
        """How many of the parked ones wait for their credential."""
        return self._count_of(Refused)

    @property
    def kinds_count(self) -> int:
        """How many different things the parked ones wait for."""
        return len(self._parked)

    def _count_of(self, kind: type[Paused | Later | Refused]) -> int:
        return sum(spans.count for key, spans in self._parked.items() if isinstance(key, kind))

    @property
    def oldest_open(self) -> float | None:
        """When the first unfinished one was written, to the second; None: there is none."""
        return self.stamps.of(self.commit_position()) if self.open_count else None

    @property
    def length(self) -> int:
        """How many offsets lie between the commit and the position."""
        return self.position - self.commit_position()

    def park(self, offset: int, key: ParkKey) -> None:
        """Forget a message but not its offset: it is read again when there is room for it."""
        state = self._state(offset)
        if state in (_FINISHED, self._numbers.get(key)):
            return
        self.unpark(offset)
        if key not in self._numbers:
            self._last_number += 1
            self._numbers[key] = self._last_number
            self._keys[self._last_number] = key
            self._parked[key] = Spans()
        spans = self._parked[key]
        self.parked_spans += spans.add(offset)
        self.parked_count += 1
        self._states[offset - self._base] = self._numbers[key]

    def unpark(self, offset: int) -> bool:
        """Take a parked offset that is read again; False if it was not parked."""
        number = self._state(offset)
        if number < _PARKED:
            return False
        key = self._keys[number]
        spans = self._parked[key]
        self.parked_spans += spans.remove(offset)
        self.parked_count -= 1
        if not spans:
            del self._parked[key], self._numbers[key], self._keys[number]
        self._states[offset - self._base] = _OPEN
        return True

    def parked_first(self) -> Iterator[tuple[ParkKey, int]]:
        """Yield the first parked offset of each kind."""
        return ((key, spans.first) for key, spans in self._parked.items())

    def parked_counts(self) -> dict[ParkKey, int]:
        """Return how many offsets of each kind are parked."""
        return {key: spans.count for key, spans in self._parked.items()}

    def _state(self, offset: int) -> int:
        index = offset - self._base
        return self._states[index] if 0 <= index < len(self._states) else _FINISHED
