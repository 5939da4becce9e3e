"""A member of the consumer group. Worker processes; made after the fork, used by one thread.

Partitions arrive paused, at the beginning of what is kept: the worker reads commits and ledger
outside the callbacks, then calls `start_at` and `resume` for each. It commits by hand. Nothing is
ever reset: an offset that is not there is an `OffsetOutOfRangeError`.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from reportd.broker.errors import (
    BrokerFatalError,
    OffsetOutOfRangeError,
    is_out_of_range,
    translate,
    translate_exception,
)
from reportd.broker.library_log import LibraryLog, error_callback
from reportd.broker.message import Message, Part, from_kafka
from reportd.broker.settings import ClientSettings
from reportd.errors import BrokerError

logger = logging.getLogger(__name__)

OnParts: TypeAlias = Callable[[list[Part]], None]
Offsets: TypeAlias = Mapping[Part, tuple[int, str]]
"""The next offset to read and the commit's metadata, per partition."""

HEARTBEATS_PER_SESSION = 15


class CommitResult(NamedTuple):
    """What became of one partition's commit."""

    topic: str
    partition: int
    offset: int
    error: BrokerError | None


class GroupConsumer:
    """One static member: classic protocol, cooperative-sticky, commits by hand.

    ``on_assign``, ``on_revoke`` and ``on_lost`` run inside `poll` and get subscribed partitions;
    what they raise, `poll` raises. ``on_revoke`` may take its time (`commit_sync` in it is meant);
    ``on_lost`` must not talk to the broker. After ``on_lost`` every partition is gone, those added
    by hand included. ``on_committed`` runs inside `poll` too.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        group: str,
        instance_id: str,
        session_timeout_seconds: float,
        on_assign: OnParts,
        on_revoke: OnParts,
        on_lost: OnParts,
        on_committed: Callable[[list[CommitResult]], None],
        max_poll_interval_seconds: float = 300.0,
        prefetch_messages: int = 1000,
        prefetch_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        """Make the client; it connects when it subscribes.

        ``max_poll_interval_seconds`` must exceed what ``on_revoke`` takes: the drain time.
        ``prefetch_messages`` counts per partition, ``prefetch_bytes`` for all of them together.
        """
        self.heartbeat_seconds = session_timeout_seconds / HEARTBEATS_PER_SESSION
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self._on_committed = on_committed
        self._failure: BaseException | None = None
        self._fatal: BrokerError | None = None
        self._subscribed: set[Part] = set()
        self._added: set[Part] = set()
        self._paused: set[Part] = set()
        self._starts: dict[Part, int] = {}
        self._to_resume: set[Part] = set()
        self._stopped: set[Part] = set()
        self._commit_in_flight = False
        self._closing = False
        self._consumer = Consumer(
            {
                **settings,
                "group.id": group,
                "group.instance.id": instance_id,
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": round(session_timeout_seconds * 1000),
                "heartbeat.interval.ms": max(1, round(self.heartbeat_seconds * 1000)),
                "max.poll.interval.ms": round(
                    max(max_poll_interval_seconds, session_timeout_seconds) * 1000
                ),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": False,
                "allow.auto.create.topics": False,
                "isolation.level": "read_committed",
                "queued.min.messages": prefetch_messages,
                "queued.max.messages.kbytes": max(1, prefetch_bytes // 1024),
                "fetch.message.max.bytes": min(prefetch_bytes, 1024 * 1024),
                # By default it waits for 500 ms before a new position is fetched from, and for 1 s
                # whenever the queue was full
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 20,
                "error_cb": error_callback(self._note_fatal),
                "on_commit": self._committed,
            },
            logger=LibraryLog(),
        )

    @property
    def assignment(self) -> frozenset[Part]:
        """Every partition held now, those added by hand included."""
        return frozenset(self._subscribed | self._added)

    @property
    def paused(self) -> frozenset[Part]:
        """The partitions of the assignment that deliver nothing."""
        return frozenset(self._paused)

    @property
    def commit_in_flight(self) -> bool:
        """Tell whether an asynchronous commit still waits for its result."""
        return self._commit_in_flight

    def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics, in place of any before."""
        self._consumer.subscribe(
            sorted(topics),
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def poll(self, timeout_seconds: float) -> Message | None:
        """Return the next record, if one comes in time; run whatever callbacks are due.

        Must be called often, even while everything is paused. Raises what a callback raised;
        `OffsetOutOfRangeError`, after which the partition stands until `start_at`; `BrokerError`
        for what concerns a topic (deleted, not allowed) and may mend; `FencedInstanceError` and
        `BrokerFatalError`, after which the client is of no use: every partition counts as lost.
        """
        self._start_waiting()
        found = self._consumer.poll(timeout_seconds)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self._raise_fatal()
        if found is None:
            return None
        error = found.error()
        if error is None:
            return from_kafka(found)
        self._failed(found, error)
        return None

    def assign_also(self, parts: Iterable[Part]) -> None:
        """Hold partitions that the group does not hand out, paused; only within ``on_assign``."""
        added = [part for part in parts if part not in self._added]
        self._take(added)
        self._added.update(added)

    def unassign(self, parts: Iterable[Part]) -> None:
        """Let go of partitions added by hand; only within ``on_revoke`` and ``on_lost``."""
        gone = [part for part in parts if part in self._added]
        self._drop(gone)

    def start_at(self, part: Part, offset: int) -> None:
        """Say where reading begins, or goes on: an offset of the topic. Leaves it paused or not.

        Before the library is ready for it (it starts partitions in its own time), `poll` does it.
        """
        if part in self.assignment:
            self._starts[part] = offset
            self._start_waiting()

    def seek(self, part: Part, offset: int) -> None:
        """Read on from ``offset``; what was fetched already is dropped."""
        self.start_at(part, offset)

    def pause(self, parts: Iterable[Part]) -> None:
        """Deliver nothing of these until `resume`; drops what was fetched, so not for moments."""
        changed = [part for part in parts if part in self.assignment and part not in self._paused]
        if changed:
            self._call("pause", lambda: self._consumer.pause(_plain(changed)))
            self._paused.update(changed)
            self._to_resume.difference_update(changed)

    def resume(self, parts: Iterable[Part]) -> None:
        """Deliver these again."""
        changed = [part for part in parts if part in self._paused]
        self._paused.difference_update(changed)
        self._to_resume.update(part for part in changed if part in self._starts)
        ready = [part for part in changed if part not in self._starts]
        if ready:
            self._call("resume", lambda: self._consumer.resume(_plain(ready)))

    def commit(self, offsets: Offsets) -> bool:
        """Send a commit; its result comes to ``on_committed``. One at a time: False if one is out.

        Partitions that are not held (any more) are left out.
        """
        if self._commit_in_flight:
            return False
        parts = self._to_commit(offsets)
        if not parts:
            return False
        self._call("commit", lambda: self._consumer.commit(offsets=parts, asynchronous=True))
        self._commit_in_flight = True
        return True

    def commit_sync(self, offsets: Offsets) -> list[CommitResult]:
        """Commit and wait for it; for callbacks and the end. Never raises for a refusal.

        Where the call itself fails, each partition gets its error, and some may have been
        committed all the same: read back what matters.
        """
        parts = self._to_commit(offsets)
        if not parts:
            return []
        try:
            done = self._consumer.commit(offsets=parts, asynchronous=False)
        except KafkaException as error:
            failed = self._fatal or translate_exception(error, "commit")
            return [CommitResult(part.topic, part.partition, part.offset, failed) for part in parts]
        return [_result(part, None) for part in done]

    def close(self) -> None:
        """Leave without a word: a static member's partitions wait for it until the session ends.

        Runs no callback of the caller: drain and `commit_sync` before.
        """
        self._closing = True
        self._consumer.close()

    def _assigned(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        names = _names(parts)

        def take() -> None:
            self._take(names)
            self._subscribed.update(names)
            self._on_assign(names)

        self._guarded(take)

    def _revoked(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        names = _names(parts)
        if not self._closing:
            self._guarded(lambda: self._on_revoke(names))
        self._guarded(lambda: self._drop(names))

    def _lost(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        names = _names(parts)
        if not self._closing:
            self._guarded(lambda: self._on_lost(names))
        self._guarded(lambda: self._drop([*names, *self._added]))

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run a part of a callback; what it raises, `poll` raises.

        The library would go on with an assignment of its own, unpaused.
        """
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised again by poll, Halt included
            self._failure = self._failure or error

    def _take(self, parts: list[Part]) -> None:
        """Assign, paused, at the beginning.

        An explicit offset: a partition without a commit would be an error otherwise.
        """
        if not parts:
            return
        at_beginning = [TopicPartition(*part, OFFSET_BEGINNING) for part in parts]
        self._call("assign", lambda: self._consumer.incremental_assign(at_beginning))
        self._call("pause", lambda: self._consumer.pause(_plain(parts)))
        self._paused.update(parts)

    def _drop(self, parts: list[Part]) -> None:
        held = [part for part in parts if part in self.assignment]
        self._subscribed.difference_update(held)
        self._added.difference_update(held)
        self._paused.difference_update(held)
        self._to_resume.difference_update(held)
        self._stopped.difference_update(held)
        for part in held:
            self._starts.pop(part, None)
        if held:
            plain = _plain(held)
            self._call("unassign", lambda: self._consumer.incremental_unassign(plain))

    def _start_waiting(self) -> None:
        for part, offset in list(self._starts.items()):
            try:
                self._start(part, offset)
            except KafkaException as error:
                if error.args[0].code() in (KafkaError._STATE, KafkaError._PREV_IN_PROGRESS):
                    continue
                raise translate_exception(error, f"seek {part[0]}[{part[1]}]") from error
            del self._starts[part]
            if part in self._to_resume:
                self._to_resume.remove(part)
                self._consumer.resume(_plain([part]))

    def _start(self, part: Part, offset: int) -> None:
        at = TopicPartition(*part, offset)
        if part not in self._stopped:
            self._consumer.seek(at)
            return
        # It does not seek any more what it met an error in: the partition has to be new to it
        self._consumer.incremental_unassign([at])
        self._consumer.incremental_assign([at])
        if part in self._paused or part in self._to_resume:
            self._consumer.pause([at])
        self._stopped.remove(part)

    def _to_commit(self, offsets: Offsets) -> list[TopicPartition]:
        held = self.assignment
        return [
            TopicPartition(*part, offset, metadata)
            for part, (offset, metadata) in offsets.items()
            if part in held
        ]

    def _committed(self, error: KafkaError | None, parts: list[TopicPartition]) -> None:
        self._commit_in_flight = False
        results = [_result(part, error) for part in parts]
        self._guarded(lambda: self._on_committed(results))

    def _failed(self, found: KafkaMessage, error: KafkaError) -> None:
        if is_out_of_range(error):
            part = found.topic() or "", found.partition() or 0
            if part in self.assignment:
                self._stopped.add(part)
            raise OffsetOutOfRangeError(*part, error.str())
        if error.code() == KafkaError._MAX_POLL_EXCEEDED or error.retriable():
            extra = {"action": "broker_error", "error": error.name()}
            logger.warning("consumer: %s", error.str(), extra=extra)
            return
        failure = translate(error, "consumer")
        if isinstance(failure, BrokerFatalError):
            self._fatal = self._fatal or failure
        raise failure

    def _note_fatal(self, error: KafkaError) -> None:
        self._fatal = self._fatal or translate(error, "consumer")

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    def _call(self, what: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except KafkaException as error:
            raise self._fatal or translate_exception(error, what) from error


def _plain(parts: Iterable[Part]) -> list[TopicPartition]:
    return [TopicPartition(*part) for part in parts]


def _names(parts: Iterable[TopicPartition]) -> list[Part]:
    return [(part.topic, part.partition) for part in parts]


def _result(part: TopicPartition, whole: KafkaError | None) -> CommitResult:
    error = part.error or whole
    failed = translate(error, "commit") if error else None
    return CommitResult(part.topic, part.partition, part.offset, failed)
