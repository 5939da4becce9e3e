"""A worker's main thread: Kafka in, the engine decides, hands do, Kafka out.

It never waits for a partner, a limit, a disk or a ledger: it polls, feeds, carries out, beats.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from reportd.broker.consumer import CommitResult, GroupConsumer
from reportd.broker.errors import FencedInstanceError, OffsetOutOfRangeError
from reportd.broker.message import Message, Part
from reportd.broker.topics import Topics
from reportd.clock import Clock
from reportd.errors import EXIT_CONFIG, BrokerError, Halt
from reportd.limits.limiter import Now
from reportd.worker.actions import (
    Action,
    Commit,
    Finish,
    Forward,
    LookAt,
    Pause,
    Read,
    Release,
    Restore,
    Spool,
    StartCall,
    Sweep,
    WriteDead,
    WriteEnd,
    WriteGrant,
    WriteStep,
)
from reportd.worker.complaints import Complaints
from reportd.worker.engine import Engine
from reportd.worker.events import Events
from reportd.worker.executor import Executor
from reportd.worker.fence import Fence
from reportd.worker.finishing import Finishing, Looking
from reportd.worker.inquiry import Inquiry
from reportd.worker.partition import Partition
from reportd.worker.records import Records
from reportd.worker.restoring import Restorer
from reportd.worker.snapshot import snapshot
from reportd.worker.tidying import EVERY_SECONDS, FIRST_SECONDS, Tidier, what_may_go

logger = logging.getLogger(__name__)

READ_SECONDS = 0.01
"""How long a turn reads on while there are messages: calls and commits wait for its end."""
BUSY_WAIT_SECONDS = 0.02
"""Longest wait for an event while messages may come."""
IDLE_WAIT_SECONDS = 0.25
JOINING_WAIT_SECONDS = 0.05
"""The same without a partition: what a poll is given in its callback it keeps until it ends."""
SNAPSHOT_SECONDS = 1.0
SNAPSHOT_MOST_SECONDS = 3.0
SNAPSHOT_SHARE = 0.01
"""No more of the time than this goes into snapshots: they come less often the more is open."""
CLOSE_SECONDS = 5.0
LEAVE_POLL_SECONDS = 0.05


class Board(Protocol):
    """This worker's slot of the board."""

    def beat(self, boottime: float) -> None:
        """Say that the loop turns."""
        ...

    def publish(self, snapshot: bytes) -> None:
        """Show what is open."""
        ...

    def release(self, request: str) -> None:
        """Note that a request is no longer in hand."""
        ...


class GroupTally(Protocol):
    """Who counts what happens to the membership."""

    def committed(self, *, accepted: bool) -> None:
        """Count a commit."""
        ...

    def rebalanced(self, event: str) -> None:
        """Count ``assigned``, ``revoked`` or ``lost``."""
        ...


class Loop:
    """Everything one worker has, composed by `reportd.worker.main`."""

    def __init__(
        self,
        *,
        engine: Engine,
        events: Events,
        fence: Fence,
        topics: Topics,
        clock: Clock,
        board: Board,
        tally: GroupTally,
        drain_seconds: float,
        stop_requested: Callable[[], bool],
        leaves: Callable[[], bool],
        inquiry: Inquiry,
        is_rolled_out: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take the deciding parts; `attach` brings the doing ones, which need callbacks."""
        self._engine = engine
        self._events = events
        self._fence = fence
        self._topics = topics
        self._clock = clock
        self._board = board
        self._tally = tally
        self._drain_seconds = drain_seconds
        self._stop_requested = stop_requested
        self._leaves = leaves
        self._is_rolled_out = is_rolled_out
        self._keeps_old_limits = True
        self._inquiry = inquiry
        self._snapshot_at = 0.0
        self._tidy_at = clock.monotonic() + FIRST_SECONDS
        self._idle = True
        self._has_more = False
        self._to_restore: list[Restore] = []
        self._complaints = Complaints()

    def attach(
        self,
        *,
        consumer: GroupConsumer,
        records: Records,
        executor: Executor,
        finishing: Finishing,
        looking: Looking,
        restorer: Restorer,
        tidier: Tidier,
    ) -> None:
        """Take the clients and threads."""
        self._consumer = consumer
        self._records = records
        self._executor = executor
        self._finishing = finishing
        self._looking = looking
        self._restorer = restorer
        self._tidier = tidier

    def run(self, partners: Iterable[str]) -> int:
        """Work until a stop is asked; drain; return the exit status."""
        self._consumer.subscribe(self._topics.requests(partner) for partner in partners)
        while not self._stop_requested():
            now = self.now()
            self._beat(now)
            self._poll(now)
            self._engine.step(self.now())
            self._carry_out()
            self._wait()
        self._stop()
        return 0

    def now(self) -> Now:
        """Return the present instant."""
        return Now(self._clock.monotonic(), self._clock.wall(), self._clock.boottime())

    # --- the group -------------------------------------------------------------------------

    def on_assign(self, parts: Sequence[Part]) -> None:
        """Take partitions, and the backfill beside them; all paused until they are restored."""
        for topic, index in parts:
            partner = self._partner_of(topic)
            self._consumer.assign_also([(self._topics.backfill(partner), index)])
            self._engine.assigned(partner, index)
        if parts:
            self._consumer.assign_also([(self._topics.control, 0)])
            self._tally.rebalanced("assigned")
            logger.info("assigned %s", _names(parts), extra={"action": "assigned"})

    def on_revoke(self, parts: Sequence[Part]) -> None:
        """Finish what is in flight within the drain time, commit, drop."""
        keys = [(self._partner_of(topic), index) for topic, index in parts]
        partitions = self._engine.revoking(keys)
        self._tally.rebalanced("revoked")
        logger.info("revoked %s", _names(parts), extra={"action": "revoked"})
        # the whole group waits for this one, and nobody's commits are taken meanwhile
        self._drain(partitions, min(self._drain_seconds, self._fence.lease_seconds / 2))
        self._commit_last(partitions)
        self._engine.drop(keys)
        self._consumer.unassign((self._topics.backfill(name), index) for name, index in keys)

    def on_lost(self, parts: Sequence[Part]) -> None:
        """Drop everything at once: others may have it already."""
        self._fence.close()
        self._tally.rebalanced("lost")
        logger.warning("lost %s", _names(parts), extra={"action": "lost"})
        self._engine.drop([(one.partner, one.index) for one in self._engine.partitions()])

    def on_committed(self, results: Sequence[CommitResult]) -> None:
        """Pass the broker's answer to a commit on."""
        for result in results:
            if result.error is not None:
                logger.warning(
                    "commit of %s[%d] refused: %s",
                    result.topic,
                    result.partition,
                    result.error,
                    extra={"action": "commit_refused", "topic": result.topic},
                )
        self._tally.committed(accepted=all(result.error is None for result in results))
        self._engine.committed(
            [
                (one.topic, one.partition, None if one.error is None else str(one.error))
                for one in results
            ]
        )

    def owns(self, partner: str, index: int) -> bool:
        """Say whether a partition is still to be restored; asked by the restoring thread."""
        return any(
            (one.partner, one.index) == (partner, index) for one in self._engine.partitions()
        )

    def _partner_of(self, topic: str) -> str:
        parsed = self._topics.parse(topic)
        if parsed is None:
            raise BrokerError(f"assigned a topic that is none of ours: {topic}")
        return parsed[1]

    # --- one turn --------------------------------------------------------------------------

    def _beat(self, now: Now) -> None:
        self._board.beat(now.boot)
        self._inquiry.look(self._engine, now)
        if now.mono >= self._snapshot_at:
            self._board.publish(snapshot(self._engine, self._fence, now))
            took = self._clock.monotonic() - now.mono
            pause = min(max(SNAPSHOT_SECONDS, took / SNAPSHOT_SHARE), SNAPSHOT_MOST_SECONDS)
            self._snapshot_at = now.mono + pause
            if self._keeps_old_limits and self._is_rolled_out():
                self._keeps_old_limits = False
                self._engine.settle_limits()
            self._complaints.look(self._engine.partitions(), now)
            self._complaints.look_at_output(self._engine.outlet.trouble(now), now)
        if now.mono >= self._tidy_at:
            self._tidy_at = now.mono + EVERY_SECONDS
            self._tidier.add(what_may_go(self._engine.partitions(), self._topics))

    def _poll(self, now: Now) -> None:
        timeout = 0.0
        if self._idle:
            longest = IDLE_WAIT_SECONDS if self._engine.partitions() else JOINING_WAIT_SECONDS
            timeout = max(0.0, min(longest, self._engine.next_wake(now) - now.mono))
        self._has_more = False
        message = self._read(timeout)
        read_until = self._clock.monotonic() + READ_SECONDS
        while message is not None:
            self._idle = False
            self._engine.message(message, now)
            if self._clock.monotonic() >= read_until:
                self._has_more = True
                return
            message = self._read(0.0)

    def _read(self, timeout_seconds: float) -> Message | None:
        try:
            return self._consumer.poll(timeout_seconds)
        except FencedInstanceError as error:
            raise Halt(
                EXIT_CONFIG,
                f"another process is in the group with this worker's name: {error}; is this VM's "
                "id unique (workers.machine_id, /etc/machine-id of a cloned image)?",
            ) from error
        except OffsetOutOfRangeError as error:
            logger.exception("a partition is read anew", extra={"action": "out_of_range"})
            self._engine.assigned(self._partner_of(error.part[0]), error.part[1])
            return None

    def _wait(self) -> None:
        now = self.now()
        until_wake = max(0.0, self._engine.next_wake(now) - now.mono)
        quiet = self._engine.is_quiet() and self._records.waiting() == 0
        took = 0
        patience = 0.0 if quiet or self._has_more else min(until_wake, BUSY_WAIT_SECONDS)
        for event in self._events.take(patience):
            event(self.now())
            took += 1
        self._idle = quiet and took == 0
        if took:
            self._carry_out()

    def _carry_out(self) -> None:
        while actions := self._engine.take_actions():
            for action in actions:
                self._do(action)
        if self._to_restore:
            self._restore()

    def _restore(self) -> None:
        """Restore partitions, but for those whose ledger still gets records of an earlier tenure.

        What this worker could not write while the broker was away may arrive now.
        """
        waiting = []
        for restore in self._to_restore:
            if self._records.is_settled(restore.partner, restore.partition):
                self._restorer.add(restore)
            else:
                waiting.append(restore)
        self._to_restore = waiting

    def _do(self, action: Action) -> None:
        if isinstance(action, StartCall):
            self._executor.start(action.entry, self._engine.in_flight)
        elif isinstance(action, Finish | Spool | Sweep):
            self._finishing.add(action)
        elif isinstance(action, LookAt):
            self._looking.add(action)
        elif isinstance(action, WriteEnd | WriteStep | WriteGrant | WriteDead | Forward):
            self._records.write(action)
        elif isinstance(action, Release):
            self._board.release(action.request_id)
        else:
            self._do_with_group(action)

    def _do_with_group(self, action: Commit | Restore | Read | Pause) -> None:
        match action:
            case Commit(offsets):
                if not self._consumer.commit(offsets):
                    self._engine.committed([(*part, "not a member now") for part in offsets])
            case Restore():
                self._to_restore.append(action)
            case Read(at, offset):
                self._consumer.start_at(at, offset)
                self._consumer.resume([at])
            case Pause(at):
                self._consumer.pause([at])

    # --- the end ---------------------------------------------------------------------------

    def _drain(self, partitions: Sequence[Partition], seconds: float) -> None:
        """Wait until nothing is under way, as long as it can still be published."""
        deadline = self._clock.monotonic() + seconds
        renewed_at = self._clock.monotonic()
        while not self._engine.is_drained(partitions):
            now = self.now()
            if now.mono >= renewed_at + self._fence.lease_seconds / 3:
                renewed_at = now.mono
                self._renew(now)
                if not self._fence.is_open(now.boot):
                    logger.warning(
                        "not draining: the lease is over, its requests are the next owner's",
                        extra={"action": "drain_given_up"},
                    )
                    return
            if now.mono >= deadline:
                logger.warning(
                    "the drain time is over with requests in flight; they are asked again",
                    extra={"action": "drain_over"},
                )
                return
            self._beat(now)
            for event in self._events.take(min(BUSY_WAIT_SECONDS, deadline - now.mono)):
                event(self.now())
            self._carry_out()

    def _renew(self, now: Now) -> None:
        """Commit, within a rebalance or at the end: what is under way needs the fence open."""
        offsets = self._engine.offsets_of(self._engine.partitions()).offsets
        results = self._consumer.commit_sync(offsets)
        if any(result.error is None for result in results):
            self._fence.commit_accepted(now.boot)

    def _commit_last(self, partitions: Sequence[Partition]) -> None:
        results = self._consumer.commit_sync(self._engine.offsets_of(partitions).offsets)
        for result in results:
            if result.error is not None:
                logger.warning(
                    "the last commit of %s[%d] failed (the ledger makes up for it): %s",
                    result.topic,
                    result.partition,
                    result.error,
                    extra={"action": "commit_refused", "topic": result.topic},
                )

    def _stop(self) -> None:
        self._engine.stop()
        self._carry_out()
        partitions = self._engine.partitions()
        self._drain(partitions, self._drain_seconds)
        left = self._records.flush(CLOSE_SECONDS)
        for event in self._events.take(0.0):
            event(self.now())
        self._carry_out()
        self._commit_last(partitions)
        if self._leaves():
            self._leave()
        self._restorer.stop()
        self._tidier.stop()
        self._executor.stop()
        self._finishing.stop()
        self._looking.stop()
        self._consumer.close()
        logger.info(
            "drained; %d records unconfirmed", left, extra={"action": "drained", "left": left}
        )

    def _leave(self) -> None:
        """Give the partitions to others at once: no worker of this name comes to take them."""
        deadline = self.now().mono + CLOSE_SECONDS
        self._consumer.leave()
        try:
            while self._consumer.member_id and self.now().mono < deadline:
                self._consumer.poll(LEAVE_POLL_SECONDS)
        except BrokerError as error:
            logger.warning(
                "cannot leave the group: others have its partitions when the session ends: %s",
                error,
                extra={"action": "leave_failed"},
            )
        else:
            logger.info("left the group for good", extra={"action": "left"})


def _names(parts: Iterable[Part]) -> str:
    return ", ".join(f"{topic}[{index}]" for topic, index in sorted(parts)) or "nothing"
