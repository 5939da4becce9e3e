"""Reading to a known end, whatever lies in between."""

import threading
import time

import pytest
from confluent_kafka import Producer as KafkaProducer

from reportd.broker.admin import Admin
from reportd.broker.errors import OffsetOutOfRangeError
from reportd.broker.message import Part
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import TopicPlan, Topics
from reportd.errors import BrokerError
from tests.integration.broker.conftest import PATIENCE_SECONDS, fill


@pytest.fixture
def part(topics: Topics) -> Part:
    return topics.requests("acme"), 0


def transaction(
    settings: ClientSettings, reader: PartitionReader, part: Part, *values: bytes, commit: bool
) -> None:
    """Write as a foreign, transactional producer would: markers take offsets."""
    _, before = reader.watermarks(part)
    producer = KafkaProducer({**settings, "transactional.id": f"tx-{part[0]}-{commit}"})
    producer.init_transactions(PATIENCE_SECONDS)
    producer.begin_transaction()
    for value in values:
        producer.produce(part[0], value, partition=part[1])
    if commit:
        producer.commit_transaction(PATIENCE_SECONDS)
    else:
        producer.flush(PATIENCE_SECONDS)
        producer.abort_transaction(PATIENCE_SECONDS)
    # The coordinator answers before it has written the marker: until then the stable end lags
    await_end(reader, part, before + len(values) + 1)


def await_end(reader: PartitionReader, part: Part, end: int) -> None:
    """Wait until the partition's stable end is `end`."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_SECONDS
    while reader.watermarks(part)[1] < end:
        assert time.monotonic() < deadline, f"{part} ends before {end}"
        pause.wait(0.02)


def test_a_span_is_read(reader: PartitionReader, producer: Producer, part: Part) -> None:
    """From the first offset to before the last; an empty span is nothing."""
    fill(producer, part, 1000)

    assert [each.offset for each in reader.read(part, 3, 900)] == list(range(3, 900))
    assert [each.value for each in reader.read(part, 999, 1000)] == [b"999"]
    assert list(reader.read(part, 1000, 1000)) == []
    assert reader.watermarks(part) == (0, 1000)


def test_markers_and_aborted_records_end_no_read(
    reader: PartitionReader, settings: ClientSettings, part: Part
) -> None:
    """Offsets that are never delivered are passed over, at the end too."""
    transaction(settings, reader, part, b"one", b"two", commit=True)
    transaction(settings, reader, part, b"never", commit=False)

    low, high = reader.watermarks(part)

    assert (low, high) == (0, 5)
    assert [each.value for each in reader.read(part, low, high)] == [b"one", b"two"]
    assert list(reader.read(part, 3, high)) == []


def test_a_deleted_start_is_an_error(
    reader: PartitionReader, producer: Producer, settings: ClientSettings, part: Part
) -> None:
    """Nothing is skipped silently; the reader is of use afterwards."""
    fill(producer, part, 10)
    Admin(settings).delete_records({part: 4})

    with pytest.raises(OffsetOutOfRangeError):
        list(reader.read(part, 0, 10))

    assert reader.watermarks(part) == (4, 10)
    assert [each.offset for each in reader.read(part, 4, 10)] == list(range(4, 10))


def test_a_read_that_stands_still_ends(reader: PartitionReader, part: Part) -> None:
    """An end that never comes is an error, not a wait without end."""
    with pytest.raises(BrokerError, match="stands still at 0, before 5"):
        list(reader.read(part, 0, 5, timeout_seconds=0.3))


def test_a_read_waits_for_what_is_being_written(
    reader: PartitionReader, producer: Producer, part: Part
) -> None:
    """As long as something comes in time."""
    writing = threading.Timer(0.5, fill, (producer, part, 5))
    writing.start()

    assert len(list(reader.read(part, 0, 5))) == 5
    writing.join()


def test_a_slow_reader_is_not_taken_for_a_slow_broker(
    reader: PartitionReader, producer: Producer, part: Part
) -> None:
    """What the caller does between two records does not count."""
    fill(producer, part, 3)
    patience_seconds = 2.0

    came = 0
    for _ in reader.read(part, 0, 3, timeout_seconds=patience_seconds):
        came += 1
        if came == 1:
            until = time.monotonic() + patience_seconds + 0.5
            threading.Event().wait(until - time.monotonic())

    assert came == 3


def test_an_abandoned_read_leaves_nothing(
    reader: PartitionReader, producer: Producer, part: Part, topics: Topics
) -> None:
    """The next read yields its own records alone."""
    other = (topics.backfill("acme"), 1)
    fill(producer, part, 100)
    fill(producer, other, 10)

    assert next(reader.read(part, 0, 100)).offset == 0
    assert [each.part for each in reader.read(other, 0, 10)] == [other] * 10


def test_a_compacted_topic_is_read_with_its_gaps(
    reader: PartitionReader, settings: ClientSettings, topic_prefix: str
) -> None:
    """Every partition, from the first record kept to the end."""
    name = Topics(topic_prefix).accounts
    admin = Admin(settings)
    admin.create([TopicPlan(name, 2, 1, {"cleanup.policy": "compact"})])
    producer = Producer(settings)
    for number in range(10):
        producer.send(name, b"%d" % number, key=b"%d" % (number % 3))
    assert producer.flush(PATIENCE_SECONDS) == 0

    found = {each.key: each.value for each in reader.read_all(name)}

    assert found == {b"0": b"9", b"1": b"7", b"2": b"8"}


def test_a_missing_topic_is_an_error(reader: PartitionReader, topic_prefix: str) -> None:
    """It is not made by asking for it."""
    for _ in range(2):
        with pytest.raises(BrokerError, match="UNKNOWN_TOPIC_OR_PART"):
            reader.partitions(f"{topic_prefix}.nowhere")
