"""Ended requests are looked for in the newest records of a ledger."""

from collections.abc import Iterable, Iterator
from datetime import date

import pytest

from reportd.broker.keys import partition_of
from reportd.broker.message import Message, Part
from reportd.broker.topics import Topics
from reportd.cli.finding import (
    MOST_LOOKED_UP,
    RECENT_RECORDS,
    end_document,
    find_ended,
    partitions_of,
)
from reportd.model.ledger import PublishedFile
from reportd.model.question import Question
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from tests.unit.worker.making import end, request

MILLION = 1_000_000
DAY = date(2026, 11, 21)


class Reader:
    """Ledgers of a million records each, the newest of which a test writes."""

    def __init__(self, *newest: bytes, size: int = MILLION) -> None:
        self._newest = newest
        self._size = size
        self.messages: dict[int, bytes] = {}
        self.read_records = 0

    def watermarks(self, part: Part) -> tuple[int, int]:
        return 0, self._size

    def read(self, part: Part, start: int, stop: int) -> Iterator[Message]:
        self.read_records += stop - start
        if part[0] == Topics().ledger("acme"):
            for offset in range(max(start, stop - len(self._newest)), stop):
                value = self._newest[offset - stop]
                yield Message(*part, offset, None, value)
        elif start in self.messages:
            yield Message(*part, start, None, self.messages[start])


def silently(records: Iterable[Message], _total: int, _what: str) -> Iterator[Message]:
    """Show no progress."""
    yield from records


def states(reader: Reader, *, parts: int = 1, everything: bool = False, **fields: str) -> list[str]:
    """Look for the ends of account a's requests of the day."""
    question = Question.model_validate({"account": "a", "day": DAY, **fields})
    found = find_ended(
        reader,
        Topics(),
        "acme",
        list(range(parts)),
        question,
        everything=everything,
        watch=silently,
    )
    return [one.state for _, one in found.ends]


def file(day: str) -> PublishedFile:
    """Make a file of a day."""
    return PublishedFile(path="a", day=day, format="csv", rows=1, bytes=1, checksum="x")


@pytest.mark.parametrize("parts", [1, 12])
def test_of_a_million_records_few_are_read(parts: int) -> None:
    """However many partitions there are; all of them only when that is asked for."""
    reader = Reader()
    states(reader, parts=parts)
    assert reader.read_records <= RECENT_RECORDS

    states(reader, parts=parts, everything=True)
    assert reader.read_records >= parts * MILLION


def test_an_end_is_found_by_account_and_day() -> None:
    """Of two ends of an id the first counts; others' are left out."""
    one, other = file(DAY.isoformat()), file("2026-11-01")
    reader = Reader(
        end("1", account="a", files=(one,), ended_at=2.0).to_json(),
        end("1", "cancelled", account="a").to_json(),
        end("2", account="a", files=(other,)).to_json(),
        end("3", account="b", files=(one,)).to_json(),
        b"{a broken record of a}",
    )

    assert states(reader) == ["result"]


def test_an_end_without_files_has_the_days_of_its_message() -> None:
    """A dead letter says nothing of its days; a message that is gone may be meant."""
    reader = Reader(
        end("1", "dead", account="a", offset=5, ended_at=1.0).to_json(),
        end("2", "cancelled", account="a", offset=6, ended_at=2.0).to_json(),
        end("3", "superseded", account="a", offset=7, ended_at=3.0).to_json(),
    )
    reader.messages = {
        5: request("a").to_json(),
        6: request("a", first_day="2026-10-01", last_day="2026-10-01").to_json(),
    }

    assert states(reader) == ["superseded", "dead"]


def test_an_end_that_tells_its_days_needs_no_message() -> None:
    """However many of them are dead, each is found by its day, and shown with it."""
    ends = [
        end(
            f"{number}",
            "dead",
            account="a",
            first_day="2026-11-20",
            last_day="2026-11-21" if number else "2026-11-20",
        )
        for number in range(MOST_LOOKED_UP + 10)
    ]
    reader = Reader(*(one.to_json() for one in ends))

    assert states(reader) == ["dead"] * (MOST_LOOKED_UP + 9)
    assert reader.read_records <= RECENT_RECORDS
    assert end_document(0, ends[1])["days"] == ["2026-11-20", "2026-11-21"]


@pytest.mark.parametrize(
    ("per", "credential", "key"),
    [("account", None, "a"), ("partner", None, "acme"), ("credential", "main", "main")],
)
def test_the_key_says_which_partition(per: str, credential: str | None, key: str) -> None:
    """Only one ledger has to be looked through."""
    spec = {
        "hosts": ["api.acme.com"],
        "limits": [{"per": per, "calls": 1, "seconds": 1}],
        "reports": {
            "stats": {"get": "https://api.acme.com/", "rows": "data", "columns": {"n": "int64"}}
        },
    }
    partner = Partner("acme", parse_spec(spec, "acme"))

    assert partitions_of(partner, 12, "a", credential) == [partition_of(key.encode(), 12)]
    if per == "credential":
        assert partitions_of(partner, 3, "a", None) == [0, 1, 2]
