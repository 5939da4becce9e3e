"""Finding letters among a million, by how many records are read for it."""

from collections.abc import Iterable, Iterator, Mapping

import pytest

from reportd.broker.letters import DeadLetter
from reportd.broker.message import Message, Part
from reportd.broker.topics import Topics
from reportd.cli.letters import GAP_RECORDS, RECENT_RECORDS, LetterBox
from reportd.model.run import RunId

MANY = 1_000_000
RUN = "daily/2026-11-22T04:00Z#1"
SLOT = RunId.parse(RUN).slot.timestamp()
TAIL = 1_000
"""So many letters lie behind the run's slot."""


class Dead:
    """The topic: a letter an offset, one a second, and what is put in place of some."""

    def __init__(self, *others: Message) -> None:
        """Put others in, at their offsets."""
        self._others = {message.offset: message for message in others}
        self.read_records = 0

    def watermarks(self, _part: Part) -> tuple[int, int]:
        return 0, MANY

    def read(self, _part: Part, start: int, end: int) -> Iterator[Message]:
        for offset in range(start, end):
            self.read_records += 1
            yield self._others.get(offset) or record(offset)

    def offsets_for_times(self, instants: Mapping[Part, float]) -> Mapping[Part, int | None]:
        ((part, instant),) = instants.items()
        assert instant < SLOT
        return {part: MANY - TAIL}

    def end_offsets(self, parts: Iterable[Part]) -> Mapping[Part, int]:
        return dict.fromkeys(parts, MANY)


def record(offset: int, name: str = "", **headers: str) -> Message:
    """Return a letter, or a note."""
    given = {"id": name or f"{offset:032x}", "replay": "0", "account": f"{offset % 7}", **headers}
    listed = tuple((key, value.encode()) for key, value in given.items())
    return Message("p.dead", 0, offset, b"k", b"bytes", listed)


def boxed(*others: Message) -> tuple[Dead, LetterBox]:
    """Return the topic and what finds letters in it."""
    dead = Dead(*others)
    return dead, LetterBox(Topics("p"), dead, dead)


def of_account_3(letter: DeadLetter) -> bool:
    """Say whether it is one account's."""
    return letter.account == "3"


def test_the_newest_are_looked_through() -> None:
    """Of a million records no more than the newest are read; and how many were not is said."""
    dead, box = boxed()
    found = box.find(of_account_3, None, everything=False)

    assert (dead.read_records, found.unread) == (RECENT_RECORDS, MANY - RECENT_RECORDS)
    assert len(found) == pytest.approx(RECENT_RECORDS / 7, abs=1)
    read = list(box.read(found))
    assert {letter.account for letter in read} == {"3"}
    assert [letter.lies_at[1] for letter in read] == [place.offset for place in found.places]


def test_a_runs_letters_lie_behind_its_slot() -> None:
    """All of them are found, and nothing that was there before is read."""
    dead, box = boxed()
    found = box.find(lambda _letter: True, RUN, everything=False)

    assert (dead.read_records, found.unread, len(found)) == (TAIL, 0, TAIL)


def test_few_among_many_are_read_alone() -> None:
    """Not all that lies between."""
    dead, box = boxed(record(MANY - 15_000, "a", account="x"), record(MANY - 5, "b", account="x"))
    found = box.find(lambda letter: letter.account == "x", None, everything=False)
    before = dead.read_records

    assert [letter.id for letter in box.read(found)] == ["a", "b"]
    assert dead.read_records - before == 2 < GAP_RECORDS


def test_one_is_found_from_the_end_on() -> None:
    """With all its lives, and no further back than its first one."""
    lives = (
        record(MANY - 30_000, "abc"),
        record(MANY - 29_999, "abc", replayed="1"),
        record(MANY - 10, "abc", replay="1"),
    )
    dead, box = boxed(*lives)
    found = box.named("ab")

    assert [(one.replay, one.replayed, one.value) for one in found] == [
        (0, True, b"bytes"),
        (1, False, b"bytes"),
    ]
    assert dead.read_records == 3 * RECENT_RECORDS
    assert box.named("nobody") == []
    assert dead.read_records == 3 * RECENT_RECORDS + MANY
