"""Dead letters as they lie in the topic ``dead``, and how they are replayed. Pure; tools use it.

The value is the original record's bytes; what happened stands in the headers. A replay is noted
in the same topic by a record with the header ``replayed`` and no value, and so is with ``dropped``
that nobody is to look at a letter any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reportd.broker.message import Headers, Message

REPLAY = "replay"
"""Header of a replayed request, and of its dead letter: which replay it is."""
REPLAYED = "replayed"
DROPPED = "dropped"


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
    answer: str = ""
    """Where an answer that was not understood is kept, below the output's root."""
    """The redacted beginning of the partner's answer."""
    replayed: bool = False
    """It was replayed: what became of that is another record."""
    dropped: bool = False
    """Somebody has decided that it needs nothing more."""

    @property
    def is_settled(self) -> bool:
        """Whether nobody has to do anything about it."""
        return self.replayed or self.dropped


def dead_letters(messages: Iterable[Message]) -> list[DeadLetter]:
    """Return the letters in ``messages``, one for each (id, replay), in the order they came.

    Hostile or foreign records are no reason to fail: what cannot be read is empty.
    """
    letters: dict[tuple[str, int], DeadLetter] = {}
    last_replay: dict[str, int] = {}
    dropped: set[tuple[str, int]] = set()
    for message in messages:
        identity = _text(message, "id"), _number(message, REPLAY)
        if message.header(REPLAYED) is not None:
            last_replay[identity[0]] = max(last_replay.get(identity[0], 0), identity[1] + 1)
        elif message.header(DROPPED) is not None:
            dropped.add(identity)
        else:
            letters.setdefault(identity, _letter(message, *identity))
            last_replay[identity[0]] = max(last_replay.get(identity[0], 0), identity[1])
    return [
        replace(
            letter,
            replayed=last_replay[letter.id] > letter.replay,
            dropped=identity in dropped,
        )
        for identity, letter in letters.items()
    ]


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


def _letter(message: Message, name: str, replay: int) -> DeadLetter:
    return DeadLetter(
        id=name,
        replay=replay,
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
    )


def _text(message: Message, name: str) -> str:
    return (message.header(name) or b"").decode(errors="replace")


def _number(message: Message, name: str) -> int:
    text = message.header(name) or b""
    return int(text) if text.isdigit() and len(text) < 19 else 0
