"""Dead letters as they lie in the topic ``dead``, and how they are replayed. Pure; tools use it.

The value is the original record's bytes; what happened stands in the headers. A replay is noted
in the same topic by a record with the header ``replayed`` and no value, and so is with ``dropped``
that nobody is to look at a letter any more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from reportd.broker.message import Headers, Message

REPLAY = "replay"
"""Header of a replayed request, and of its dead letter: which replay it is."""
REPLAYED = "replayed"
DROPPED = "dropped"
CUT = "cut"
"""Header of a letter that has the beginning of its message alone: how long that is."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A request given up on."""

    id: str
    replay: int
    """0, or which replay of it died."""
    topic: str
    partition: int
    offset: int
    run: str
    account: str
    report: str
    error: str
    reason: str
    attempts: int
    died_at: float
    """Epoch seconds."""
    lies_at: tuple[int, int]
    """Partition and offset of this record in ``dead``."""
    key: bytes | None = field(repr=False)
    value: bytes = field(repr=False)
    sample: bytes = field(repr=False, default=b"")
    """The redacted beginning of the partner's answer."""
    answer: str = ""
    """Where an answer that was not understood is kept, below the output's root."""
    replayed: bool = False
    """It was replayed: what became of that is another record."""
    cut_from: int = 0
    """How many bytes the message has where it lies, if the letter has its beginning alone."""
    dropped: bool = False
    """Somebody has decided that it needs nothing more."""


class Place(NamedTuple):
    """Where a letter lies in ``dead``, and what was done about it."""

    offset: int
    replayed: bool
    dropped: bool

    @property
    def is_settled(self) -> bool:
        """Whether nobody has to do anything about it."""
        return self.replayed or self.dropped


class Census:
    """Which letters fit, and where they lie: about 250 bytes each, whatever they hold.

    See the records of ``dead`` in their order, or those of a part of it.
    """

    def __init__(self, fits: Callable[[DeadLetter], bool] = lambda _letter: True) -> None:
        """Look for letters that fit."""
        self._fits = fits
        self._offsets: dict[tuple[str, int], int] = {}
        self._last_replay: dict[str, int] = {}
        self._dropped: set[tuple[str, int]] = set()

    def see(self, message: Message) -> None:
        """Take a record; hostile or foreign ones are no reason to fail."""
        name, replay = _text(message, "id"), _number(message, REPLAY)
        if message.header(DROPPED) is not None:
            self._dropped.add((name, replay))
            return
        if message.header(REPLAYED) is not None:
            replay += 1
        elif (name, replay) not in self._offsets and self._fits(letter_in(message)):
            self._offsets[name, replay] = message.offset
        if replay > self._last_replay.get(name, 0):
            self._last_replay[name] = replay

    def places(self) -> list[Place]:
        """Return where those lie that fit, one for each (id, replay), in the topic's order."""
        return [
            Place(offset, self._last_replay.get(name, 0) > replay, (name, replay) in self._dropped)
            for (name, replay), offset in sorted(self._offsets.items(), key=lambda one: one[1])
        ]


def dead_letters(messages: Iterable[Message]) -> list[DeadLetter]:
    """Return the letters in ``messages``, one for each (id, replay), in the order they came."""
    census, by_offset = Census(), {}
    for message in messages:
        census.see(message)
        by_offset[message.offset] = message
    return [placed(by_offset[place.offset], place) for place in census.places()]


def placed(message: Message, place: Place) -> DeadLetter:
    """Return a letter with what was done about it."""
    return replace(letter_in(message), replayed=place.replayed, dropped=place.dropped)


def replay_headers(letter: DeadLetter) -> Headers:
    """Return the headers of the request that replays ``letter``: the next life of its id."""
    return ((REPLAY, str(letter.replay + 1).encode()),)


def replayed_headers(letter: DeadLetter) -> Headers:
    """Return the headers of the note, in the topic ``dead``, that it was replayed."""
    return (
        (REPLAYED, str(letter.replay + 1).encode()),
        ("id", letter.id.encode()),
        (REPLAY, str(letter.replay).encode()),
    )


def dropped_headers(letter: DeadLetter) -> Headers:
    """Return the headers of the note, in the topic ``dead``, that it needs nothing more."""
    return (
        (DROPPED, b"1"),
        ("id", letter.id.encode()),
        (REPLAY, str(letter.replay).encode()),
    )


def letter_in(message: Message) -> DeadLetter:
    """Return the letter that a record of ``dead`` is; what cannot be read is empty."""
    return DeadLetter(
        id=_text(message, "id"),
        replay=_number(message, REPLAY),
        topic=_text(message, "topic"),
        partition=_number(message, "partition"),
        offset=_number(message, "offset"),
        run=_text(message, "run"),
        account=_text(message, "account"),
        report=_text(message, "report"),
        error=_text(message, "error"),
        reason=_text(message, "reason"),
        attempts=_number(message, "attempts"),
        died_at=message.timestamp,
        lies_at=(message.partition, message.offset),
        key=message.key,
        value=message.value,
        sample=message.header("sample") or b"",
        answer=_text(message, "answer"),
        cut_from=_number(message, CUT),
    )


def _text(message: Message, name: str) -> str:
    return (message.header(name) or b"").decode(errors="replace")


def _number(message: Message, name: str) -> int:
    text = message.header(name) or b""
    return int(text) if text.isdigit() and len(text) < 19 else 0
