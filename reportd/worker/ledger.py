"""The image of one ledger partition: which ends, steps and positions a worker must know.

Filled by `reportd.worker.restore` (in its own thread, before it is handed over), then used by the
engine in the worker's loop. Pure.
"""

import heapq
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from reportd.model.ledger import End, EndState, Grant, Step
from reportd.worker.book import OffsetBook
from reportd.worker.entry import Identity

REMEMBERED_ENDS = 500
"""Of this worker's own, a partition; a copy that comes later is found to be finished by a look."""

CLOCKS_DIFFER_SECONDS = 3600.0
"""So long a grant is kept beyond its window: by another VM's clock it may not be over."""

POISON = "poison-"
"""How the identity of a message begins that is no request; its place follows."""


@dataclass(frozen=True, slots=True)
class KnownEnd:
    """An end in the ledger; as little of it as is needed, for there may be very many."""

    state: EndState
    topic: str
    offset: int
    position: int
    """Its offset in the ledger partition."""
    dead: End | None = None
    """The whole record of a dead one, until its copy is known to stand."""

    @classmethod
    def of(cls, end: End, position: int) -> Self:
        """Keep of a record what is needed."""
        topic = sys.intern(end.topic)
        return cls(end.state, topic, end.offset, position, end if end.state == "dead" else None)


class LedgerImage:
    """The first end of an id wins; of steps the highest (attempt, step) of each id counts."""

    def __init__(self) -> None:
        """Begin empty."""
        self.next_position = 0
        """The ledger position after the last record known."""
        self._restored: dict[Identity, KnownEnd] = {}
        self._own: OrderedDict[Identity, KnownEnd] = OrderedDict()
        self._steps: dict[Identity, list[tuple[int, Step]]] = {}
        self._torn: set[Identity] = set()
        """Whose steps are of two owners that had picked different things."""
        self.grants: list[tuple[int, Grant]] = []
        """Grants of quotas as they were read, with their positions."""
        self._counting: list[tuple[int, float]] = []
        self._needed: list[tuple[int, int, int]] = []
        self._books: list[OffsetBook] = []

    def apply(self, position: int, record: End | Step | Grant) -> None:
        """Take one record as it stands in the ledger."""
        self.next_position = max(self.next_position, position + 1)
        if isinstance(record, End):
            identity = (record.id, record.replay)
            self._restored.setdefault(identity, KnownEnd.of(record, position))
            self._steps.pop(identity, None)
        elif isinstance(record, Step):
            identity = (record.id, record.replay)
            if identity in self._restored:
                return
            steps = self._steps.setdefault(identity, [])
            if steps and record.attempt > steps[-1][1].attempt:
                steps.clear()
                self._torn.discard(identity)
            if not steps or (
                record.attempt == steps[-1][1].attempt and record.step > steps[-1][1].step
            ):
                steps.append((position, record))
            elif any(_contradict(record, other) for _, other in steps):
                self._torn.add(identity)
        else:
            self.grants.append((position, record))

    def need_restored(self, books: Mapping[str, OffsetBook], ends: Mapping[str, int]) -> None:
        """Keep in R what was restored and may still be asked for; ``ends``: high watermarks.

        The end of a dead request is kept until everything that was in its topic is committed: a
        copy of its message may lie there, and nothing at the output says that it was tried.
        """
        for identity, known in list(self._restored.items()):
            book = books.get(known.topic)
            if book is not None:
                last = ends[known.topic] - 1 if known.state == "dead" else 0
                self.need(known.position, book, max(known.offset, last))
                if known.state == "dead" and known.offset < book.committed:
                    self.copied(identity)
        for steps in self._steps.values():
            for position, step in steps:
                if step.topic in books:
                    self.need(position, books[step.topic], step.offset)

    def end_of(self, identity: Identity) -> KnownEnd | None:
        """Return the end of an identity, if it is known to have one."""
        return self._restored.get(identity) or self._own.get(identity)

    def steps_of(self, identity: Identity) -> list[tuple[int, Step]]:
        """Return the steps that a request can go on from, with their positions, in order."""
        steps = self._steps.get(identity, [])
        whole = [step.step for _, step in steps] == list(range(1, len(steps) + 1))
        return list(steps) if whole and identity not in self._torn else []

    def attempt_of(self, identity: Identity) -> int:
        """Return the attempt that goes on: a new one, where there are steps but none to go on from.

        Its records would not count beside those.
        """
        steps = self._steps.get(identity)
        if not steps:
            return 0
        return steps[-1][1].attempt + (0 if self.steps_of(identity) else 1)

    def ended(self, identity: Identity, known: KnownEnd) -> None:
        """Remember an end of this worker's own; old ones beyond a bound are forgotten.

        Those that were restored are kept, and dead ones: a copy may still be to come, and
        nothing at the output says that it was tried.
        """
        self.next_position = max(self.next_position, known.position + 1)
        if known.state == "dead":
            self._restored.setdefault(identity, known)
        elif identity not in self._restored:
            self._own.setdefault(identity, known)
        self._steps.pop(identity, None)
        while len(self._own) > REMEMBERED_ENDS:
            self._own.popitem(last=False)

    def copied(self, identity: Identity) -> None:
        """Keep only that a request is dead, and where: its copy stands in ``dead``.

        Not even that of a message that was no request: no other has its identity.
        """
        known = self._restored[identity]
        if identity[0].startswith(POISON):
            del self._restored[identity]
        else:
            self._restored[identity] = replace(known, dead=None)

    def confirmed(self, position: int) -> None:
        """Take note of a record of this worker's own that stands in the ledger."""
        self.next_position = max(self.next_position, position + 1)

    def need(self, position: int, book: OffsetBook, offset: int) -> None:
        """Keep a ledger position in R until ``offset`` lies before its book's commit."""
        if book not in self._books:
            self._books.append(book)
        heapq.heappush(self._needed, (position, self._books.index(book), offset))

    def counts(self, position: int, until_wall: float) -> None:
        """Keep a grant in R until its quota's window is over (epoch seconds)."""
        heapq.heappush(self._counting, (position, until_wall))

    def windows_over(self, now_wall: float) -> None:
        """Let go of the grants whose windows are over."""
        while self._counting and self._counting[0][1] < now_wall - CLOCKS_DIFFER_SECONDS:
            heapq.heappop(self._counting)

    def first_needed(self) -> int:
        """Return R: the lowest ledger position that a restore from the next commit needs."""
        first = self._first_of_requests()
        return min(first, self._counting[0][0]) if self._counting else first

    def _first_of_requests(self) -> int:
        while self._needed:
            position, book, offset = self._needed[0]
            if offset >= self._books[book].commit_position():
                return position
            heapq.heappop(self._needed)
        return self.next_position


def _contradict(one: Step, other: Step) -> bool:
    """Say whether two records of the same step are of different reports at the partner."""
    same = (one.attempt, one.step) == (other.attempt, other.step)
    return same and one.picked != other.picked
