"""What is read of a new partition before its first call."""

import logging
from collections.abc import Iterable, Iterator
from typing import cast

import pytest

from reportd.broker.message import Message, Part
from reportd.broker.reader import Committed, PartitionReader
from reportd.broker.topics import Topics
from reportd.errors import EXIT_CONFIG, BrokerError, Halt
from reportd.limits.limiter import Now
from reportd.worker.actions import Restore
from reportd.worker.events import Events
from reportd.worker.restoring import ControlsRead, Restored, Restorer, read_partition
from tests.unit.worker.hands import Hands
from tests.unit.worker.making import end, step

REQUESTS, BACKFILL, LEDGER = (f"reportd.{name}.acme" for name in ("requests", "backfill", "ledger"))
CONTROL = "reportd.control"
DEADLINE_SECONDS = 10.0


class Reader:
    """A broker's partitions as lists of records."""

    def __init__(self) -> None:
        self.commits: dict[str, Committed] = {}
        self.marks: dict[str, tuple[int, int]] = {}
        self.ledger: dict[int, bytes] = {}
        self.read_from: list[int] = []
        self.controls: list[Message] = []

    def committed(self, parts: Iterable[Part]) -> dict[Part, Committed]:
        return {part: self.commits.get(part[0], Committed(None, "")) for part in parts}

    def watermarks(self, part: Part) -> tuple[int, int]:
        if part[0] == LEDGER:
            return self.marks.get(LEDGER, (0, max(self.ledger, default=-1) + 1))
        if part[0] == CONTROL:
            return (0, len(self.controls))
        return self.marks.get(part[0], (0, 0))

    def read(self, part: Part, start: int, stop: int) -> Iterator[Message]:
        if part[0] == CONTROL:
            yield from self.controls[start:stop]
            return
        self.read_from.append(start)
        for offset, value in self.ledger.items():
            if start <= offset < stop:
                yield Message(part[0], part[1], offset, None, value)

    def partitions(self, topic: str) -> int:
        return 12

    def restore(self, store: str = "ab12") -> Restored:
        """Read partition 3."""
        return read_partition(cast("PartitionReader", self), Topics("reportd"), "acme", 3, store)


def test_a_partition_without_a_commit_begins_at_its_low_watermark() -> None:
    """No commit but a ledger: everything in it is read, nothing finished is asked again."""
    reader = Reader()
    reader.marks[REQUESTS] = (5, 9)
    reader.ledger = {0: end("x").to_json()}
    found = reader.restore()

    assert [(t.topic, t.start, t.end) for t in found.topics] == [
        (REQUESTS, 5, 9),
        (BACKFILL, 0, 0),
    ]
    assert found.image.end_of(("x", 0)) is not None
    assert found.partition_count == 12


def test_the_ledger_is_read_from_r_on() -> None:
    """The lowest R of both topics' commits is where the next owner begins."""
    reader = Reader()
    reader.commits = {REQUESTS: Committed(7, "1 4 ab12"), BACKFILL: Committed(2, "1 2 ab12")}
    reader.ledger = {n: end(f"id-{n}").to_json() for n in range(6)}
    found = reader.restore()

    assert reader.read_from == [2]
    assert [found.image.end_of((f"id-{n}", 0)) is None for n in (1, 2, 5)] == [True, False, False]
    assert found.image.next_position == 6


def test_a_foreign_commit_reads_the_whole_ledger() -> None:
    """Metadata of another tool says nothing of R: the ledger is read from its beginning."""
    reader = Reader()
    reader.commits = {REQUESTS: Committed(7, ""), BACKFILL: Committed(2, "1 2 ab12")}
    reader.marks[LEDGER] = (1, 4)
    reader.restore()

    assert reader.read_from == [1]


def test_another_stores_commits_end_the_worker() -> None:
    """Its receipts are elsewhere: no call is made before somebody has looked."""
    reader = Reader()
    reader.commits[REQUESTS] = Committed(7, "1 4 ffff")

    with pytest.raises(Halt) as caught:
        reader.restore()
    assert caught.value.status == EXIT_CONFIG
    assert "ffff" in caught.value.reason


def test_messages_deleted_unread_are_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    """A commit before the low watermark: an error, and reading begins where there is something."""
    reader = Reader()
    reader.commits[REQUESTS] = Committed(3, "1 0 ab12")
    reader.marks[REQUESTS] = (5, 9)
    with caplog.at_level(logging.ERROR):
        found = reader.restore()

    assert found.topics[0].start == 5
    assert "messages 3 to 4 were deleted" in caplog.text


def test_what_is_no_ledger_record_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """A foreign record is logged and stops nothing."""
    reader = Reader()
    reader.ledger = {0: b"?", 1: step("x").to_json()}
    reader.commits[REQUESTS] = Committed(0, "1 0 ab12")
    found = reader.restore()

    assert len(found.image.steps_of(("x", 0))) == 1
    assert "is not a ledger record" in caplog.text


def test_all_that_people_asked_for_is_read_to_its_end() -> None:
    """Nobody is called for what was paused before this worker was born."""
    reader = Reader()
    reader.controls = [Message(CONTROL, 0, n, b"acme", b"") for n in range(2)]
    found = reader.restore().controls

    assert found == ControlsRead((CONTROL, 0), tuple(reader.controls), 2)


def test_a_reader_that_cannot_be_made_ends_the_worker() -> None:
    """Were its thread lost, no partition would be restored any more."""

    def make_reader() -> PartitionReader:
        raise BrokerError("a setting that librdkafka refuses")

    events = Events()
    restorer = Restorer(
        make_reader=make_reader,
        topics=Topics("reportd"),
        store_id="ab12",
        engine=Hands().engine,
        events=events,
        is_wanted=lambda _partner, _index: True,
    )
    restorer.add(Restore("acme", 3))
    (event,) = events.take(DEADLINE_SECONDS)

    with pytest.raises(BrokerError, match="refuses"):
        event(Now(0.0, 0.0, 0.0))
