"""Members of a group as the worker makes them, on a real broker."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import pytest

from reportd.broker.admin import Admin
from reportd.broker.consumer import CommitResult, GroupConsumer
from reportd.broker.message import Message, Part
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings, client_settings
from reportd.broker.topics import TopicPlan, Topics
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka

PATIENCE_SECONDS = 60.0


def settings_for(servers: str) -> ClientSettings:
    return client_settings(KafkaSettings(servers=servers))


class Member:
    """A group consumer that holds backfill.P[i] beside requests.P[i], and writes all down."""

    def __init__(
        self,
        settings: ClientSettings,
        prefix: str,
        instance_id: str,
        session_timeout_seconds: float = 6.0,
        max_poll_interval_seconds: float = 300.0,
    ) -> None:
        self.topics = Topics(prefix)
        self.events: list[tuple[str, list[Part]]] = []
        self.results: list[list[CommitResult]] = []
        self.to_commit_when_revoked: dict[Part, tuple[int, str]] = {}
        self.committed_when_revoked: list[CommitResult] = []
        self.consumer = GroupConsumer(
            settings,
            group=prefix,
            instance_id=instance_id,
            session_timeout_seconds=session_timeout_seconds,
            max_poll_interval_seconds=max_poll_interval_seconds,
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
            on_committed=self.results.append,
        )
        self.consumer.subscribe([self.topics.requests("acme")])

    def until(self, condition: Callable[[], bool]) -> list[Message]:
        """Poll until ``condition`` holds; return what came meanwhile."""
        came = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; {self.events} {self.results}"
            message = self.consumer.poll(0.05)
            if message is not None:
                came.append(message)
        return came

    def read(self, count: int) -> list[Message]:
        """Poll until ``count`` records have come."""
        came: list[Message] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(came) < count:
            assert time.monotonic() < deadline, f"only {len(came)} of {count} records came"
            message = self.consumer.poll(0.2)
            if message is not None:
                came.append(message)
        return came

    def read_nothing(self, polls: int = 10) -> None:
        """Poll for a while; nothing may come."""
        for _ in range(polls):
            assert self.consumer.poll(0.05) is None

    def commit(self, offsets: Mapping[Part, tuple[int, str]]) -> list[CommitResult]:
        """Commit and poll until the result is there."""
        assert self.consumer.commit(offsets)
        self.until(lambda: not self.consumer.commit_in_flight)
        return self.results[-1]

    def start(self, offsets: Mapping[Part, int]) -> None:
        """Read from these offsets on."""
        for part, offset in offsets.items():
            self.consumer.start_at(part, offset)
        self.consumer.resume(offsets)

    def _beside(self, parts: list[Part]) -> list[Part]:
        return [(self.topics.backfill("acme"), number) for _, number in parts]

    def _assigned(self, parts: list[Part]) -> None:
        self.events.append(("assign", parts))
        self.consumer.assign_also(self._beside(parts))

    def _revoked(self, parts: list[Part]) -> None:
        self.events.append(("revoke", parts))
        if self.to_commit_when_revoked:
            self.committed_when_revoked = self.consumer.commit_sync(self.to_commit_when_revoked)
        self.consumer.unassign(self._beside(parts))

    def _lost(self, parts: list[Part]) -> None:
        self.events.append(("lost", parts))


class MakeMember(Protocol):
    def __call__(
        self,
        instance_id: str = "vm-0",
        session_timeout_seconds: float = 6.0,
        max_poll_interval_seconds: float = 300.0,
    ) -> Member: ...


@pytest.fixture
def settings(kafka: EmbeddedKafka) -> ClientSettings:
    return settings_for(kafka.servers)


@pytest.fixture
def topics(topic_prefix: str, settings: ClientSettings) -> Topics:
    """Make acme's two topics with two partitions each."""
    names = Topics(topic_prefix)
    plans = [TopicPlan(name, 2, 1, {}) for name in (names.requests("acme"), names.backfill("acme"))]
    Admin(settings).create(plans)
    return names


@pytest.fixture
def producer(settings: ClientSettings) -> Producer:
    return Producer(settings)


@pytest.fixture
def reader(settings: ClientSettings, topic_prefix: str) -> Iterator[PartitionReader]:
    """Give a reader with the members' group."""
    reader = PartitionReader(settings, group=topic_prefix)
    yield reader
    reader.close()


@pytest.fixture
def make_member(settings: ClientSettings, topics: Topics) -> Iterator[MakeMember]:
    """Make members of one group; they are closed in the end."""
    made: list[Member] = []

    def make(
        instance_id: str = "vm-0",
        session_timeout_seconds: float = 6.0,
        max_poll_interval_seconds: float = 300.0,
    ) -> Member:
        made.append(
            Member(
                settings,
                topics.prefix,
                instance_id,
                session_timeout_seconds,
                max_poll_interval_seconds,
            )
        )
        return made[-1]

    yield make
    for member in made:
        with contextlib.suppress(RuntimeError):
            member.consumer.close()


def fill(producer: Producer, part: Part, count: int) -> None:
    """Write ``count`` records whose values are their numbers."""
    for number in range(count):
        producer.send(part[0], b"%d" % number, partition=part[1])
    assert producer.flush(PATIENCE_SECONDS) == 0
