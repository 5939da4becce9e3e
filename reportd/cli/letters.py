"""Finds dead letters in their topic, without holding them: it may have a million.

Used by ``reportctl dead``. First it is read where those lie that are meant, then they are read,
one after the other, as often as is needed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from reportd.broker.letters import (
    DROPPED,
    REPLAYED,
    Census,
    DeadLetter,
    Place,
    dead_letters,
    letter_in,
    placed,
)
from reportd.broker.message import Message, Part
from reportd.broker.topics import Topics
from reportd.cli.finding import Reader
from reportd.cli.showing import watched
from reportd.errors import InvalidMessageError
from reportd.model.run import RunId

RECENT_RECORDS = 20_000
"""So many of the newest records are looked through, where nobody asks for all."""
SKEW_SECONDS = 600.0
"""A run's letters lie behind its slot, but for this much: clocks differ."""
GAP_RECORDS = 500
"""Letters that lie no further apart are read in one go."""
WHAT = "dead letters"


class Times(Protocol):
    """What is asked of `reportd.broker.admin.Admin`."""

    def offsets_for_times(self, instants: Mapping[Part, float]) -> Mapping[Part, int | None]: ...  # noqa: D102  # see there
    def end_offsets(self, parts: Iterable[Part]) -> Mapping[Part, int]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Letters:
    """Those that are meant: where they lie."""

    places: Sequence[Place]
    unread: int = 0
    """How many older records were not looked at."""

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.places)


@dataclass(frozen=True, slots=True)
class LetterBox:
    """The topic ``dead``, and a reader of it. Raises `BrokerError`."""

    topics: Topics
    reader: Reader
    admin: Times

    def find(
        self, fits: Callable[[DeadLetter], bool], run: str | None, *, everything: bool
    ) -> Letters:
        """Look for letters that fit: of a run behind its slot, or among the newest, or all."""
        low, high = self.reader.watermarks(self._part)
        start, unread = low, 0
        if run is not None and (first := self._first_of(run)) is not None:
            start = max(low, min(first, high))
        elif not everything:
            start = max(low, high - RECENT_RECORDS)
            unread = start - low
        census = Census(fits)
        for message in watched(self.reader.read(self._part, start, high), high - start, WHAT):
            census.see(message)
        return Letters(census.places(), unread)

    def read(self, letters: Letters) -> Iterator[DeadLetter]:
        """Yield letters with their bytes, the oldest first; those that are gone are left out."""
        wanted = {place.offset: place for place in letters.places}
        records = (
            message
            for first, last in _spans(sorted(wanted))
            for message in self.reader.read(self._part, first, last + 1)
            if message.offset in wanted
        )
        for message in watched(records, len(wanted), WHAT):
            yield placed(message, wanted[message.offset])

    def named(self, beginning: str) -> list[DeadLetter]:
        """Return all lives of the newest letter whose id begins so; or of several, if it is so.

        Looks back from the end, further and further, until there is one and its first life.
        """
        low, end = self.reader.watermarks(self._part)
        found: list[Message] = []
        size = RECENT_RECORDS
        while end > low:
            start = max(low, end - size)
            records = self.reader.read(self._part, start, end)
            found = [
                *(
                    message
                    for message in watched(records, end - start, WHAT)
                    if (message.header("id") or b"").decode(errors="replace").startswith(beginning)
                ),
                *found,
            ]
            if any(_is_first_life(message) for message in found):
                break
            end, size = start, 2 * size
        return dead_letters(found)

    @property
    def _part(self) -> tuple[str, int]:
        return self.topics.dead, 0

    def _first_of(self, run: str) -> int | None:
        """Return from where on a run's letters lie; None: that cannot be told."""
        try:
            since = RunId.parse(run).order.slot - SKEW_SECONDS
        except InvalidMessageError:
            return None
        first = self.admin.offsets_for_times({self._part: since})[self._part]
        return self.admin.end_offsets([self._part])[self._part] if first is None else first


def _is_first_life(message: Message) -> bool:
    is_note = message.header(REPLAYED) is not None or message.header(DROPPED) is not None
    return not is_note and letter_in(message).replay == 0


def _spans(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of offsets that lie close together."""
    first = last = None
    for offset in offsets:
        if last is None or first is None:
            first = offset
        elif offset - last > GAP_RECORDS:
            yield first, last
            first = offset
        last = offset
    if last is not None and first is not None:
        yield first, last
