"""The broker goes away, comes back, or stands there and says nothing."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.broker.admin import Admin
from reportd.broker.errors import BrokerFatalError, FencedInstanceError
from reportd.broker.message import Part
from reportd.broker.producer import Producer
from reportd.broker.topics import TopicPlan, Topics
from reportd.demo.kafka import EmbeddedKafka
from reportd.errors import BrokerError
from tests.integration.broker.conftest import PATIENCE_SECONDS, Member, settings_for

PREFIX = "outage"
REQUESTS = (Topics(PREFIX).requests("acme"), 0)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """Start a broker that may be stopped and killed, with acme's topics."""
    with EmbeddedKafka(tmp_path) as broker:
        names = Topics(PREFIX)
        Admin(settings_for(broker.servers)).create(
            [TopicPlan(name, 2, 1, {}) for name in (names.requests("acme"), names.backfill("acme"))]
        )
        yield broker


def member_of(broker: EmbeddedKafka, session_timeout_seconds: float) -> Member:
    member = Member(settings_for(broker.servers), PREFIX, "vm-0", session_timeout_seconds)
    member.until(lambda: len(member.consumer.assignment) == 4)
    return member


def test_commits_can_be_asked_for_at_once(own_kafka: EmbeddedKafka) -> None:
    """A group nobody has asked for yet has no coordinator: the library's own call dies of it."""
    admin = Admin(settings_for(own_kafka.servers))

    assert admin.group_offsets(PREFIX) == {}
    own_kafka.restart()
    assert admin.group_offsets(PREFIX) == {}
    admin.close()


def test_a_restart_of_the_broker_passes_unnoticed(own_kafka: EmbeddedKafka) -> None:
    """Within the session nothing is lost, what was sent meanwhile arrives, reading goes on."""
    member = member_of(own_kafka, session_timeout_seconds=60)
    member.start({REQUESTS: 0})
    producer = Producer(settings_for(own_kafka.servers))
    done: list[int | BrokerError] = []
    producer.send(REQUESTS[0], b"before", partition=0, on_done=done.append)
    assert producer.flush(PATIENCE_SECONDS) == 0
    member.read(1)

    own_kafka.kill()
    producer.send(REQUESTS[0], b"while away", partition=0, on_done=done.append)
    assert producer.flush(1) == 1
    own_kafka.start()

    assert producer.flush(PATIENCE_SECONDS) == 0
    assert done == [0, 1]
    assert [message.value for message in member.read(1)] == [b"while away"]
    results = member.commit({REQUESTS: (2, "")})
    assert results == [(*REQUESTS, 2, None)]
    assert [kind for kind, _ in member.events] == ["assign"]
    assert member.consumer.close()


def test_an_outage_longer_than_the_session_is_no_second_machine(own_kafka: EmbeddedKafka) -> None:
    """The client loses all; it may even fence itself, and that must not read as a rival."""
    member = member_of(own_kafka, session_timeout_seconds=2)
    own_kafka.kill()
    # Not polled while the session ends, the broker comes back and the group is loaded: so the
    # client, which goes on to heartbeat, fences itself
    own_kafka.start()
    producer = Producer(settings_for(own_kafka.servers))
    producer.send(REQUESTS[0], b"", partition=0)
    assert producer.flush(PATIENCE_SECONDS) == 0
    deadline = time.monotonic() + PATIENCE_SECONDS

    fatal: list[BrokerFatalError] = []
    try:
        member.until(lambda: time.monotonic() > deadline or len(member.events) >= 3)
    except BrokerFatalError as error:
        fatal.append(error)
        member = member_of(own_kafka, session_timeout_seconds=2)

    assert [str(error) for error in fatal if isinstance(error, FencedInstanceError)] == []
    kinds = [kind for kind, _ in member.events]
    assert kinds == (["assign"] if fatal else ["assign", "lost", "assign"])
    assert len(member.consumer.assignment) == 4


def test_a_start_that_a_slow_broker_hears_late_stands(own_kafka: EmbeddedKafka) -> None:
    """No answer to an older question about the partition moves the reader, however late it is."""
    producer = Producer(settings_for(own_kafka.servers))
    for number in range(10):
        producer.send(REQUESTS[0], b"%d" % number, partition=0)
    assert producer.flush(PATIENCE_SECONDS) == 0
    member = Member(settings_for(own_kafka.servers), PREFIX, "vm-0", 60)
    take = member.consumer._on_assign
    assert own_kafka.pid is not None
    pid = own_kafka.pid

    def mute(parts: list[Part]) -> None:
        os.kill(pid, signal.SIGSTOP)
        take(parts)

    member.consumer._on_assign = mute
    member.until(lambda: bool(member.events))
    member.start({REQUESTS: 5})
    member.until(lambda: not member.consumer.is_starting)
    os.kill(pid, signal.SIGCONT)

    assert [message.offset for message in member.read(5)] == [5, 6, 7, 8, 9]
    member.read_nothing(polls=30)  # the library asks again half a second later
    assert member.consumer.close()


def test_a_mute_broker_holds_nobody_for_ever(own_kafka: EmbeddedKafka) -> None:
    """The last commit says that it failed, and closing gives up."""
    member = member_of(own_kafka, session_timeout_seconds=60)
    assert own_kafka.pid is not None
    os.kill(own_kafka.pid, signal.SIGSTOP)

    results = member.consumer.commit_sync({REQUESTS: (2, "")}, timeout_seconds=1)

    assert [str(result.error) for result in results] == ["commit: no answer in time"]
    assert not member.consumer.close(timeout_seconds=1)
    os.kill(own_kafka.pid, signal.SIGCONT)
