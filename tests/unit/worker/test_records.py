"""What is said when a record stands: the ends of requests in the log."""

import logging
from collections.abc import Callable
from typing import cast

import pytest

from reportd.broker.producer import Producer
from reportd.broker.topics import Topics
from reportd.limits.limiter import Now
from reportd.model.ledger import End, EndState
from reportd.worker.actions import WriteEnd
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.events import Events
from reportd.worker.records import Done, Records
from tests.unit.worker.making import at, end, entry


class Broker:
    """A producer whose every record stands at once."""

    def send(self, _topic: str, _value: bytes, **given: object) -> None:
        cast("Callable[[Done], None]", given["on_done"])(7)


class Heard:
    """The engine and the tally, as far as an end concerns them."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, int]] = []

    def ended(self, _entry: Entry, _end: End) -> None:
        """Count nothing."""

    def forwarded(self, _partner: str) -> None:
        """Count nothing."""

    def end_confirmed(self, _entry: Entry, found: End, position: int, _now: Now) -> None:
        self.ends.append((found.state, position))


def write(one: Entry, found: End) -> list[tuple[str, int]]:
    """Write an end and take its confirmation; return what the engine heard."""
    events, heard = Events(), Heard()
    records = Records(
        producer=cast("Producer", Broker()),
        topics=Topics("p"),
        engine=cast("Engine", heard),
        events=events,
        tally=heard,
    )
    records.write(WriteEnd(one, found))
    for event in events.take(0.0):
        event(at(0.0))
    return heard.ends


@pytest.mark.parametrize(("state", "level"), [("dead", logging.WARNING), ("result", logging.DEBUG)])
def test_end_is_said_with_its_fields(
    caplog: pytest.LogCaptureFixture, state: EndState, level: int
) -> None:
    """Dead ones for somebody to look at, others for who asks; by fields that can be asked for."""
    one = entry("acc")
    with caplog.at_level(logging.DEBUG, "reportd.worker.records"):
        assert write(one, end(one.request.id, state, reason="permanent: 403")) == [(state, 7)]

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, f"{state}: permanent: 403")
    fields = vars(record)
    assert fields["action"] == f"request_{state}"
    assert {name: fields[name] for name in one.request.log_fields()} == one.request.log_fields()
    assert fields["request"] == one.request.id
    assert fields["account"] == "acc"


def test_ordinary_end_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds a second say nothing at the usual level."""
    with caplog.at_level(logging.INFO, "reportd.worker.records"):
        write(entry(), end())

    assert caplog.records == []
