"""Where an account's requests are: open ones from the observer, ended ones from the ledger.

Used by ``reportctl requests``. Of a ledger no more than its last records are read, unless all of
them are asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from reportd.broker.keys import partition_of
from reportd.broker.message import Message, Part
from reportd.broker.topics import Topics
from reportd.errors import BrokerError, InvalidMessageError
from reportd.model.ledger import End, parse_ledger_record
from reportd.model.question import Question
from reportd.model.request import Request
from reportd.partners.partner import Partner

RECENT_RECORDS = 20_000
"""So many of a partner's newest ledger records are looked through."""
MOST_LOOKED_UP = 50
"""Of so many ends without files the message is read, to know its days."""

Watch = Callable[[Iterable[Message], int, str], Iterator[Message]]
"""Shows how far reading is: the records, how many there are at most, of what."""


class Reader(Protocol):
    """What is asked of `reportd.broker.reader.PartitionReader`."""

    def watermarks(self, part: Part) -> tuple[int, int]:
        """Return the first offset kept and the end."""
        ...

    def read(self, part: Part, start: int, end: int) -> Iterator[Message]:
        """Yield the records of [start, end)."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """What a ledger says of the requests that are meant."""

    ends: tuple[tuple[int, End], ...] = ()
    """With the number of the partition; the newest first."""
    unread: int = 0
    """How many older records were not looked at."""


def partitions_of(partner: Partner, count: int, account: str, credential: str | None) -> list[int]:
    """Return where an account's requests lie; all partitions, if its credential is not known."""
    keys = {"account": account, "partner": partner.name, "credential": credential}
    key = keys[partner.key_scope]
    return list(range(count)) if key is None else [partition_of(key.encode(), count)]


def find_ended(
    reader: Reader,
    topics: Topics,
    partner: str,
    parts: list[int],
    question: Question,
    *,
    everything: bool,
    watch: Watch,
) -> Ended:
    """Look for the ends of the requests that are meant; raises `BrokerError`."""
    most = None if everything else max(1, RECENT_RECORDS // max(1, len(parts)))
    found: list[tuple[int, End]] = []
    unread = 0
    for number in parts:
        part = topics.ledger(partner), number
        low, high = reader.watermarks(part)
        start = low if most is None else max(low, high - most)
        unread += start - low
        ends: dict[tuple[str, int], End] = {}
        for message in watch(reader.read(part, start, high), high - start, f"{part[0]}[{number}]"):
            for end in _ends(message, question):
                ends.setdefault((end.id, end.replay), end)
        found += [(number, end) for end in ends.values()]
    found.sort(key=lambda one: -one[1].ended_at)
    left = MOST_LOOKED_UP
    kept = []
    for number, end in found:
        if question.day is None or end.files:
            kept.append((number, end))
        elif end.first_day or left:
            left -= not end.first_day
            if _covers_day(reader, number, end, question):
                kept.append((number, end))
    return Ended(tuple(kept), unread)


def _ends(message: Message, question: Question) -> Iterator[End]:
    plain = '"' not in question.account and "\\" not in question.account
    if plain and question.account.encode() not in message.value:
        return
    with suppress(InvalidMessageError):
        record = parse_ledger_record(message.value)
        if (
            isinstance(record, End)
            and record.account == question.account
            and question.report in ("", record.report)
            and (
                question.day is None
                or not record.files
                or any(file.day == question.day.isoformat() for file in record.files)
            )
        ):
            yield record


def _covers_day(reader: Reader, number: int, end: End, question: Question) -> bool:
    """Say whether a request without files is of the day; one that is gone may be.

    An older version's end does not tell its days: then the message is read.
    """
    if end.first_day and question.day is not None:
        return end.first_day <= question.day.isoformat() <= end.last_day
    with suppress(BrokerError, InvalidMessageError):
        for message in reader.read((end.topic, number), end.offset, end.offset + 1):
            return question.means(Request.from_json(message.value))
    return True


def _days(end: End) -> list[str]:
    """Return the first and the last day of a request that has brought nothing."""
    return [end.first_day, end.last_day] if end.first_day else []


def end_document(number: int, end: End) -> dict[str, Any]:
    """Return an end for programs."""
    return {
        "id": end.id,
        "replay": end.replay,
        "run": end.run,
        "report": end.report,
        "account": end.account,
        "state": end.state,
        "why": end.reason,
        "calls": end.calls,
        "rows": end.rows,
        "files": [file.path for file in end.files],
        "provisional": any(file.provisional for file in end.files),
        "days": sorted({file.day for file in end.files}) or _days(end),
        "started_at": end.started_at,
        "ended_at": end.ended_at,
        "topic": end.topic,
        "partition": number,
        "offset": end.offset,
    }
