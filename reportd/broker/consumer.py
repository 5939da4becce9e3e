"""A member of the consumer group. Worker processes; made after the fork, used by one thread.

Partitions arrive paused, at the beginning of what is kept: the worker reads commits and ledger
outside the callbacks, then calls `start_at` and `resume` for each. It commits by hand. Nothing is
ever reset: an offset that is not there is an `OffsetOutOfRangeError`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from reportd.broker.admin import Admin
from reportd.broker.commits import CommitResult, SentCommits, results_of
from reportd.broker.errors import (
    BrokerFatalError,
    FencedInstanceError,
    OffsetOutOfRangeError,
    is_out_of_range,
    translate,
    translate_exception,
)
from reportd.broker.holding import Holding
from reportd.broker.library_log import LibraryLog, error_callback
from reportd.broker.message import Message, Part, from_kafka
from reportd.broker.settings import ClientSettings
from reportd.errors import BrokerError

__all__ = ["CommitResult", "GroupConsumer"]

logger = logging.getLogger(__name__)

OnParts: TypeAlias = Callable[[list[Part]], None]
Offsets: TypeAlias = Mapping[Part, tuple[int, str]]
"""The next offset to read and the commit's metadata, per partition."""

HEARTBEATS_PER_SESSION = 15
COMMIT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
ASK_SECONDS = 10.0


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
        self._fence_was_checked = False
        self._added: set[Part] = set()
        self._commits = SentCommits()
        self._awaited: list[CommitResult] | None = None
        self._in_callback = False
        self._closing = False
        self._settings = settings
        self._group = group
        self._instance_id = instance_id
        self._member_ids: set[str] = set()
        self._lost_all = False
        self._consumer = Consumer(
            {
                **settings,
                "client.id": instance_id,
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
        self._holding = Holding(self._consumer)

    @property
    def assignment(self) -> frozenset[Part]:
        """Every partition held now, those added by hand included."""
        return self._holding.parts

    @property
    def paused(self) -> frozenset[Part]:
        """The partitions of the assignment that deliver nothing."""
        return self._holding.paused

    @property
    def is_starting(self) -> bool:
        """Tell whether the library is not ready yet for some `start_at`."""
        return self._holding.is_starting

    @property
    def commit_in_flight(self) -> bool:
        """Tell whether the last asynchronous commit still waits for its result."""
        return self._commits.last_is_open

    def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics, in place of any before."""
        self._consumer.subscribe(
            sorted(topics),
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    @property
    def member_id(self) -> str:
        """What the group calls this one now; empty: it is no member."""
        return self._consumer.memberid() or ""

    def leave(self) -> None:
        """Leave for good: what it has goes to others at once. `poll` until the group agrees.

        Unlike `close`: the library says goodbye for a static member that unsubscribes, and not for
        one that ends.
        """
        self._consumer.unsubscribe()

    def poll(self, timeout_seconds: float) -> Message | None:
        """Return the next record, if one comes in time; run whatever callbacks are due.

        Must be called often, even while everything is paused. Raises what a callback raised;
        `OffsetOutOfRangeError`, after which the partition stands until `start_at`; and, after which
        the client is of no use and every partition counts as lost, `BrokerFatalError`, or
        `FencedInstanceError` if the group says that another has this one's id. Anything else (a
        topic deleted, a right taken away) is logged: the library keeps trying.
        """
        self._holding.serve()
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
        added = list(parts)
        self._holding.take(added)
        self._added.update(added)

    def unassign(self, parts: Iterable[Part]) -> None:
        """Let go of partitions added by hand; only within ``on_revoke`` and ``on_lost``."""
        gone = self._added.intersection(parts)
        self._added -= gone
        self._holding.drop(gone)

    def start_at(self, part: Part, offset: int) -> None:
        """Say where reading begins, or goes on; what was fetched already is dropped.

        Leaves it paused or not. Where the library is not ready for it, `poll` does it.
        """
        self._holding.start_at(part, offset)

    def pause(self, parts: Iterable[Part]) -> None:
        """Deliver nothing of these until `resume`; drops what was fetched, so not for moments."""
        self._holding.pause(parts)

    def resume(self, parts: Iterable[Part]) -> None:
        """Deliver these again."""
        self._holding.resume(parts)

    def commit(self, offsets: Offsets) -> bool:
        """Send a commit; its result comes to ``on_committed``, unless another one is sent before.

        So a result always belongs to the last commit sent, and its age is known. Partitions that
        are not held (any more) are left out; False: none was left, or the group does not know this
        one now, and nothing was sent.
        """
        parts = self._to_commit(offsets)
        if not parts or not self._is_member():
            return False
        try:
            self._consumer.commit(offsets=parts, asynchronous=True)
        except KafkaException as error:
            self._raise_fatal()
            raise translate_exception(error, "commit") from error
        self._commits.sent(parts)
        return True

    def commit_sync(
        self, offsets: Offsets, timeout_seconds: float = COMMIT_SECONDS
    ) -> list[CommitResult]:
        """Commit and wait for the result: within ``on_revoke``, or as the last thing of all.

        Never raises for a refusal: each partition gets its error. Some may have been committed
        all the same: read back what matters. Within a callback the library waits as long as it
        likes (7 s when the broker is gone, without end when it is there and mute); elsewhere
        everything is paused first, for good, and the wait is bounded.
        """
        parts = self._to_commit(offsets)
        if not parts:
            return []
        try:
            if not self._is_member():
                raise BrokerError("commit: not a member of the group now")
            if self._in_callback:
                return results_of(self._consumer.commit(offsets=parts, asynchronous=False), None)
            return self._commit_last(parts, timeout_seconds)
        except KafkaException as error:
            failed: BrokerError = self._fatal or translate_exception(error, "commit")
        except BrokerError as error:
            failed = error
        return [CommitResult(part.topic, part.partition, part.offset, failed) for part in parts]

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> bool:
        """Leave without a word: a static member's partitions wait for it until the session ends.

        Runs no callback of the caller: drain and `commit_sync` before. False: a mute broker would
        hold it for ever; the process has to end by ``os._exit``.
        """
        self._closing = True
        closing = threading.Thread(target=self._consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(timeout_seconds)
        return not closing.is_alive()

    def _commit_last(
        self, parts: list[TopicPartition], timeout_seconds: float
    ) -> list[CommitResult]:
        self.pause(self.assignment)
        self._consumer.commit(offsets=parts, asynchronous=True)
        self._commits.sent(parts)
        deadline = time.monotonic() + timeout_seconds
        self._awaited = []
        try:
            while not self._awaited and time.monotonic() < deadline:
                self.poll(0.1)
            if not self._awaited:
                raise BrokerError("commit: no answer in time")
            return self._awaited
        finally:
            self._awaited = None

    def _assigned(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        names = _names(parts)

        def take() -> None:
            self._holding.take(names)
            self._member_ids.add(self._consumer.memberid())
            self._lost_all = False
            self._on_assign(names)

        self._guarded(take)

    def _revoked(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        names = _names(parts)
        if not self._closing:
            self._guarded(lambda: self._on_revoke(names))
        self._guarded(lambda: self._holding.drop(names))

    def _lost(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        names = _names(parts)
        self._lost_all = True
        if not self._closing:
            self._guarded(lambda: self._on_lost(names))
        self._guarded(lambda: self._holding.drop([*names, *self._added]))
        self._added.clear()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run a part of a callback; what it raises, `poll` raises.

        The library would go on with an assignment of its own, unpaused.
        """
        self._in_callback = True
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised again by poll, Halt included
            self._failure = self._failure or error
        finally:
            self._in_callback = False

    def _is_member(self) -> bool:
        """Say whether the group has given this one a member id.

        Between the end of a session and the answer to the next join there is none, and a commit
        without it, that arrives after the join, is taken for a rival's: the client fences itself.
        """
        return bool(self._consumer.memberid())

    def _to_commit(self, offsets: Offsets) -> list[TopicPartition]:
        held = self.assignment
        return [
            TopicPartition(*part, offset, metadata)
            for part, (offset, metadata) in offsets.items()
            if part in held
        ]

    def _committed(self, error: KafkaError | None, parts: list[TopicPartition]) -> None:
        if not self._commits.answered(parts):
            return
        results = results_of(parts, error)
        if self._awaited is None:
            self._guarded(lambda: self._on_committed(results))
        else:
            self._awaited = results

    def _failed(self, found: KafkaMessage, error: KafkaError) -> None:
        if is_out_of_range(error):
            part = found.topic() or "", found.partition() or 0
            if self._holding.has_stopped(part):
                raise OffsetOutOfRangeError(*part, error.str())
            return
        failure = translate(error, "consumer")
        if isinstance(failure, BrokerFatalError):
            self._fatal = self._fatal or failure
            self._raise_fatal()
        logger.error("%s", failure, extra={"action": "broker_error", "error": error.name()})

    def _note_fatal(self, error: KafkaError) -> None:
        self._fatal = self._fatal or translate(error, "consumer")

    def _raise_fatal(self) -> None:
        if self._fatal is None:
            return
        if isinstance(self._fatal, FencedInstanceError) and not self._fence_was_checked:
            self._fence_was_checked = True
            self._fatal = self._checked_fence(self._fatal)
        raise self._fatal

    def _checked_fence(self, fenced: FencedInstanceError) -> BrokerError:
        """Say whether another process really has the id.

        A client fences itself when it heartbeats between its session's end and its next poll: after
        a broker's outage, or when it was stopped. In doubt it is no rival: this one joins again,
        and if there is one, that is fenced while it is well, and knows.
        """
        if self._lost_all:
            return BrokerFatalError(f"{fenced} (after its session had ended)")
        admin = Admin(self._settings, timeout_seconds=ASK_SECONDS)
        try:
            holder = admin.static_member(self._group, self._instance_id)
        except BrokerError as error:
            return BrokerFatalError(f"{fenced} (who it is cannot be asked: {error})")
        if holder is None or holder in {*self._member_ids, self._consumer.memberid()}:
            return BrokerFatalError(f"{fenced} (there is no other)")
        return FencedInstanceError(
            f"another process is in the group {self._group} as {self._instance_id} ({holder})"
        )


def _names(parts: Iterable[TopicPartition]) -> list[Part]:
    return [(part.topic, part.partition) for part in parts]
