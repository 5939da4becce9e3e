"""What is said when a record stands: the ends of requests in the log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from reportd.broker.errors import RecordTooLargeError
from reportd.broker.message import Message
from reportd.broker.producer import Producer
from reportd.broker.topics import Topics
from reportd.limits.limiter import Now
from reportd.model.ledger import End, EndState
from reportd.worker.actions import Forward, WriteDead, WriteEnd
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.events import Events
from reportd.worker.records import Done, Record, Records, RecordTally
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
    heard = Heard()
    write_to(Broker(), heard, WriteEnd(one, found))
    return heard.ends


def write_to(broker: object, engine: object, record: Record) -> None:
    """Write a record and let all come that follows."""
    events = Events()
    records = Records(
        producer=cast("Producer", broker),
        topics=Topics("p"),
        engine=cast("Engine", engine),
        events=events,
        tally=cast("RecordTally", engine),
    )
    records.write(record)
    for event in events.take(0.0):
        event(at(0.0))


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


@dataclass
class Narrow:
    """A broker that takes no record of more than so many bytes; the client itself may say so."""

    most: int
    is_client: bool
    took: list[dict[str, Any]] = field(default_factory=list)

    def send(self, topic: str, value: bytes, **given: Any) -> None:
        if len(value) > self.most:
            error = RecordTooLargeError("too large")
            if self.is_client:
                raise error
            given["on_done"](error)
            return
        self.took.append({"topic": topic, "value": value, **given})
        given["on_done"](7)


@dataclass
class Told:
    """The engine, as far as what was too large concerns it."""

    dead: list[Entry] = field(default_factory=list)
    kept: list[Message] = field(default_factory=list)

    def dead_confirmed(self, one: Entry) -> None:
        self.dead.append(one)

    def not_forwarded(self, one: Message, _now: Now) -> None:
        self.kept.append(one)


@pytest.mark.parametrize("is_client", [True, False])
def test_letter_that_is_too_large_is_cut(is_client: bool) -> None:
    """Its worker lives on; it says how long the message is, which stays where it lies."""
    one = entry()
    one.message = replace(one.message, value=b"x" * 1_000_000)
    broker, told = Narrow(100_000, is_client), Told()
    write_to(broker, told, WriteDead(one, {"error": b"poison"}))

    (letter,) = broker.took
    assert (letter["topic"], letter["value"]) == ("p.dead", b"x" * 65_536)
    assert dict(letter["headers"]) == {"error": b"poison", "cut": b"1000000"}
    assert told.dead == [one]


@pytest.mark.parametrize("is_client", [True, False])
def test_message_that_is_too_large_is_not_forwarded(is_client: bool) -> None:
    """The engine is told, whoever refuses it."""
    told = Told()
    message = replace(entry().message, value=b"x" * 1_000_000)
    write_to(Narrow(100_000, is_client), told, Forward(message, "key", 1))

    assert told.kept == [message]


def test_ordinary_end_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds a second say nothing at the usual level."""
    with caplog.at_level(logging.INFO, "reportd.worker.records"):
        write(entry(), end())

    assert caplog.records == []
