"""The observer's thread that talks to the broker: offsets, runs, other VMs, and this VM's record.

It alone has the clients. What it learned is handed out as values with their age; while the broker
is away the last ones stay.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from reportd.broker.group import Group
from reportd.broker.message import Message, Part
from reportd.broker.topics import Topics
from reportd.clock import Clock
from reportd.errors import EXIT_CONFIG, BrokerError, Halt, InvalidMessageError
from reportd.model.run import Finished, Manifest
from reportd.model.vm import Vm
from reportd.observer.neighbours import HEARTBEAT_SECONDS, Neighbours
from reportd.observer.offsets import Cluster, Offsets, look
from reportd.observer.orphans import Orphans
from reportd.observer.runs import Due, Runs

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
LEAVE_SECONDS = 3.0
"""What saying goodbye may take."""


class Mailbox(Protocol):
    """One compacted topic of one partition, read from where the last reading ended."""

    def new(self) -> list[Message]:
        """Return what has come; raises `BrokerError`."""
        ...


class Outbox(Protocol):
    """Where this VM's record is written; raises `BrokerError`."""

    def write(self, vm: Vm) -> None:
        """Send the record; drops it if the one before is still on its way."""
        ...

    def flush(self, timeout_seconds: float) -> None:
        """Wait until it is there, or for the timeout."""
        ...


class Membership(Protocol):
    """Who tells about the group (`reportd.broker.admin.Admin`); raises `BrokerError`."""

    def group(self, group: str) -> Group: ...  # noqa: D102  # see there


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """What the thread talks through; made in the thread, after the fork."""

    cluster: Cluster
    membership: Membership
    vms: Mailbox
    runs: Mailbox
    outbox: Outbox
    close: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSight:
    """What the broker last told."""

    offsets: Offsets = field(default_factory=Offsets)
    at: float | None = None
    """Monotonic seconds of the answer; None: there was none yet."""
    error: str = ""
    runs: dict[str, Manifest] = field(default_factory=dict)
    """By schedule, the newest."""
    older: tuple[Manifest, ...] = ()
    """Those before the newest that are not over, the newest first."""
    finished: dict[str, Finished] = field(default_factory=dict)
    """By schedule, the newest that is over."""
    over: Mapping[str, Finished] = field(default_factory=dict)
    """By run, all that are over and not forgotten."""
    due: tuple[Due, ...] = ()
    vms: tuple[Vm, ...] = ()
    agree: bool = True
    unowned: frozenset[Part] = frozenset()
    """Partitions of requests topics that no worker of the group has."""
    forsaken: Mapping[Part, int] = field(default_factory=dict)
    """Those with requests of runs, and how many at most, of partners that no VM has a file of."""
    joins_anew: tuple[str, float] = ("", 0.0)
    """The worker of this VM (``worker-0``) that must leave and join, and since when (boottime)."""


class BrokerWatch:
    """The thread and what it knows."""

    def __init__(
        self,
        connect: Callable[[], Clients],
        topics: Topics,
        me: Vm,
        neighbours: Neighbours,
        clock: Clock,
        *,
        partners: Collection[str],
        drain_seconds: float,
    ) -> None:
        """Wire it; `start` starts the thread.

        ``partners`` are those whose topics the workers subscribe to; ``drain_seconds`` is the most
        that a worker takes to give partitions away.
        """
        self._connect = connect
        self._topics = topics
        self._me = me
        self._said = me
        self._neighbours = neighbours
        self._clock = clock
        self._runs = Runs()
        self._partners = partners
        self._orphans = Orphans(drain_seconds)
        self._sight = BrokerSight()
        self._wrote_at = float("-inf")
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def say(self, me: Vm) -> None:
        """Tell the other VMs this of this one from the next heartbeat on."""
        self._said = me

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def sight(self) -> BrokerSight:
        """Return what is known; raises what ended the thread (`Halt`, a bug)."""
        if self._failure is not None:
            raise self._failure
        return self._sight

    def known(self) -> BrokerSight:
        """Return what is known, whatever became of the thread."""
        return self._sight

    def stop(self) -> None:
        """Say goodbye to the other VMs; waits a few seconds at most."""
        self._stop.set()
        self._thread.join(2 * LEAVE_SECONDS)

    def _run(self) -> None:
        try:
            clients = self._connect()
            while not self._stop.is_set():
                self.turn(clients)
                self._stop.wait(LOOK_SECONDS)
            self.leave(clients)
        except BaseException as failure:  # noqa: BLE001  # handed to the main thread by `sight`
            self._failure = failure

    def turn(self, clients: Clients) -> None:
        """Look once; a broker that does not answer is noted. Raises `Halt` for a refusal."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        try:
            if now - self._wrote_at >= HEARTBEAT_SECONDS:
                clients.outbox.write(self._said.model_copy(update={"at": wall}))
                self._wrote_at = now
            for message in clients.vms.new():
                self._hear(message, now)
            for message in clients.runs.new():
                self._runs.see(message)
            offsets = look(clients.cluster, self._topics, self._topics.prefix)
            group = clients.membership.group(self._topics.prefix)
        except BrokerError as error:
            if not self._sight.error:
                logger.warning(
                    "the broker does not answer: %s", error, extra={"action": "no_broker"}
                )
            self._sight = replace(self._sight, error=str(error))
            return
        if self._sight.error:
            logger.info("the broker answers again", extra={"action": "broker_back"})
        self._refuse_if_later(now, wall)
        due = self._runs.due(offsets, wall)
        self._sight = BrokerSight(
            offsets=offsets,
            at=self._clock.monotonic(),
            runs=dict(self._runs.newest()),
            older=self._runs.older(),
            finished=dict(self._runs.finished()),
            over=dict(self._runs.over()),
            due=due,
            vms=tuple(self._neighbours.live(now, wall)),
            agree=self._neighbours.agree(now, wall),
            joins_anew=self._join_anew(group, offsets) or self._sight.joins_anew,
            unowned=self._orphans.parts,
            forsaken=self._forsaken(group, offsets),
        )

    def _forsaken(self, group: Group, offsets: Offsets) -> Mapping[Part, int]:
        """Return where requests wait of a partner whose file was removed, on every VM."""
        if not group.settled:
            return self._sight.forsaken
        owned = frozenset().union(*group.members.values())
        found: Counter[Part] = Counter()
        for part, first, end in self._runs.open_spans(offsets):
            parsed = self._topics.parse(part[0])
            partner = parsed[1] if parsed is not None else ""
            with_it = (self._topics.requests(partner), part[1])
            if partner not in self._partners and with_it not in owned:
                found[part] += end - first
        return found

    def _join_anew(self, group: Group, offsets: Offsets) -> tuple[str, float] | None:
        topics = {self._topics.requests(partner) for partner in self._partners}
        wanted = {part for part in offsets.lags if part[0] in topics}
        member = self._orphans.look(group, wanted, self._clock.monotonic())
        machine, _, index = member.rpartition("-")
        if machine != self._me.machine:
            return None
        logger.warning(
            "nobody has %s: worker-%s joins the group anew",
            ", ".join(f"{topic}[{number}]" for topic, number in sorted(self._orphans.parts)),
            index,
            extra={"action": "join_anew"},
        )
        return f"worker-{index}", self._clock.boottime()

    def leave(self, clients: Clients) -> None:
        """Write that this VM is gone, and close."""
        try:
            clients.outbox.flush(LEAVE_SECONDS / 2)
            gone = self._me.model_copy(update={"at": self._clock.wall(), "gone": True})
            clients.outbox.write(gone)
            clients.outbox.flush(LEAVE_SECONDS / 2)
        except BrokerError as error:
            logger.warning("left without a word: %s", error, extra={"action": "no_goodbye"})
        clients.close()

    def _hear(self, message: Message, now: float) -> None:
        try:
            self._neighbours.see(Vm.from_json(message.value), now)
        except InvalidMessageError as error:
            logger.debug("a record of vms: %s", error, extra={"action": "vm_unreadable"})

    def _refuse_if_later(self, now: float, wall: float) -> None:
        for refusal in self._neighbours.refusals(now, wall):
            if self._neighbours.yields(refusal.vm):
                raise Halt(EXIT_CONFIG, refusal.reason)
            logger.error("%s", refusal.reason, extra={"action": "vm_conflict"})
