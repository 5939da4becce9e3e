"""Writing records, as the ledger needs it."""

import random
from typing import TYPE_CHECKING

import pytest

from reportd.broker.admin import Admin
from reportd.broker.keys import partition_of
from reportd.broker.message import Part
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import Topics, topic_plans
from reportd.errors import BrokerError
from tests.integration.broker.conftest import PATIENCE_SECONDS

if TYPE_CHECKING:
    from reportd.broker.message import Message

FAR = 4_000_000_000.0


def test_a_record_says_where_it_lies(
    producer: Producer, reader: PartitionReader, topics: Topics
) -> None:
    """The callback gets the offset; key, headers and time come back as they were."""
    name = topics.requests("acme")
    done: list[int | BrokerError] = []
    for value in (b"one", b"two"):
        producer.send(
            name,
            value,
            key=b"key",
            partition=1,
            headers=(("replay", b"1"), ("replay", b"\xff\x00")),
            timestamp=1_700_000_000.25,
            on_done=done.append,
        )

    assert producer.flush(PATIENCE_SECONDS) == 0

    assert done == [0, 1]
    found: list[Message] = list(reader.read((name, 1), 0, 2))
    assert [each.value for each in found] == [b"one", b"two"]
    assert found[0].headers == (("replay", b"1"), ("replay", b"\xff\x00"))
    assert found[0].header("replay") == b"\xff\x00"
    assert (found[0].key, found[0].timestamp) == (b"key", 1_700_000_000.25)


def test_keys_lie_where_partition_of_says(
    producer: Producer, reader: PartitionReader, topics: Topics
) -> None:
    """The producer agrees with what the worker checks, and Spark and Java do."""
    name = topics.requests("acme")
    keys = [b"account-%d" % number for number in range(50)] + ["Zürich".encode(), b"\x00"]
    for key in keys:
        producer.send(name, b"", key=key)
    assert producer.flush(PATIENCE_SECONDS) == 0

    found = {message.key: message.partition for message in reader.read_all(name)}

    assert found == {key: partition_of(key, 2) for key in keys}


def test_no_key_and_no_value_are_no_error(
    producer: Producer, reader: PartitionReader, topics: Topics
) -> None:
    """Hostile records are read like any other."""
    part: Part = (topics.requests("acme"), 0)
    producer._producer.produce(part[0], None, partition=0, headers=[("none", None)])
    assert producer.flush(PATIENCE_SECONDS) == 0

    (message,) = reader.read(part, 0, 1)

    assert (message.key, message.value, message.headers) == (None, b"", (("none", b""),))


def test_a_record_that_is_too_long_fails_alone(producer: Producer, topics: Topics) -> None:
    """Whether the client or the broker refuses it."""
    name = topics.requests("acme")
    done: list[int | BrokerError] = []
    with pytest.raises(BrokerError, match="MSG_SIZE_TOO_LARGE"):
        producer.send(name, bytes(9 * 1024 * 1024), partition=0, on_done=done.append)

    producer.send(name, random.Random(0).randbytes(2_000_000), partition=0, on_done=done.append)
    assert producer.flush(PATIENCE_SECONDS) == 0
    producer.send(name, b"short", partition=0, on_done=done.append)
    assert producer.flush(PATIENCE_SECONDS) == 0

    refused, accepted = done
    assert isinstance(refused, BrokerError)
    assert "MSG_SIZE_TOO_LARGE" in str(refused)
    assert accepted == 0


def test_a_full_queue_is_waited_for(settings: ClientSettings, topics: Topics) -> None:
    """Nothing is refused or lost for coming too fast."""
    producer = Producer(settings, queue_messages=10)
    done: list[int | BrokerError] = []
    for number in range(500):
        producer.send(topics.requests("acme"), b"%d" % number, partition=0, on_done=done.append)

    assert producer.flush(PATIENCE_SECONDS) == 0
    assert done == list(range(500))


def test_what_a_callback_raises_poll_raises(producer: Producer, topics: Topics) -> None:
    """It is not lost in the library."""

    def fail(_done: int | BrokerError) -> None:
        raise LookupError("as asked")

    producer.send(topics.requests("acme"), b"", partition=0, on_done=fail)

    with pytest.raises(LookupError, match="as asked"):
        producer.flush(PATIENCE_SECONDS)


def test_a_topic_that_is_not_there_is_an_error(settings: ClientSettings, topic_prefix: str) -> None:
    """Though records wait for a broker for ever, they do not wait for a topic (but 30 s)."""
    producer = Producer({**settings, "topic.metadata.propagation.max.ms": 500})
    done: list[int | BrokerError] = []
    producer.send(f"{topic_prefix}.nowhere", b"", partition=0, on_done=done.append)

    assert producer.flush(PATIENCE_SECONDS) == 0
    assert "UNKNOWN" in str(done[0])


def test_a_clock_that_is_ahead_is_no_reason_to_refuse(
    producer: Producer, settings: ClientSettings, topic_prefix: str
) -> None:
    """Kafka refuses what a producer's clock says to come from later than an hour from now."""
    plans = topic_plans(f"{topic_prefix}-ahead", {"acme": 1}, 1)
    Admin(settings).create(plans)
    done: list[int | BrokerError] = []
    for plan in plans:
        producer.send(plan.name, b"{}", key=b"key", partition=0, timestamp=FAR, on_done=done.append)

    assert producer.flush(PATIENCE_SECONDS) == 0

    assert done == [0] * len(plans)
