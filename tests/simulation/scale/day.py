"""One partition's day: real engines one after the other, as the fleet has them, and the partner.

Everything around the engine answers after a while of virtual time: partner, store, ledger, group.
Partitions share nothing but VMs, so each is played by itself.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import orjson

from reportd.broker.message import Message
from reportd.demo.simulator.meters import PartnerMeter, make_meter
from reportd.limits.limiter import Now
from reportd.model.ledger import End, PublishedFile
from reportd.model.request import Request, canonical_params, request_id
from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import Action, Commit, Finish, LookAt, Pause, Read, StartCall, WriteEnd
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.fence import Fence
from reportd.worker.ledger import LedgerImage
from reportd.worker.partition import Looked, Partition, RestoredTopic
from reportd.worker.settings import EngineSettings
from tests.simulation.scale.fleet import Tenure
from tests.simulation.scale.kinds import Kind

WALL = 1_795_305_600.0
"""When the day begins: midnight UTC."""
SAMPLE_SECONDS = 60.0
"""How often the observer looks."""
HEARTBEAT_SECONDS = 3.0
LEAST_SECONDS = 0.001
"""A loop's turn takes at least so long."""
READ_AT_ONCE = 500
THREADS = 64
RUN = "daily/2026-11-22T00:00Z#1"
OK = Verdict(outcome=Outcome.OK)
SLOWER = Verdict(outcome=Outcome.THROTTLED, scope="account")
FILE = PublishedFile(path="a", day="2026-11-21", format="parquet", rows=3, bytes=9, checksum="x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one partition's day is made of."""

    kind: Kind
    index: int
    counts: Mapping[str, int]
    """Requests by account."""
    tenures: Sequence[Tenure]
    seed: int


@dataclass(slots=True)
class Played:
    """What came of it."""

    partner: str
    requests: int
    calls: int = 0
    over: int = 0
    """Calls that the partner's meter found too many."""
    over_at: list[float] = field(default_factory=list)
    called_at: list[float] = field(default_factory=list)
    """When, where a limit is not as the file says it."""
    repeated: int = 0
    """Calls for what had an end in the ledger."""
    finished_at: dict[str, float] = field(default_factory=dict)
    """By account: when its last call was made."""
    called: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[int, int]] = field(default_factory=list)
    """By `SAMPLE_SECONDS`: requests that had ended, and the most that one account had open."""
    parked_most: int = 0
    entries_most: int = 0


class Topic:
    """A partition's messages, made when they are read: an account's n-th before any (n+1)-th."""

    def __init__(self, job: Job) -> None:
        """Lay the accounts out in turns."""
        self.accounts = sorted(job.counts, key=lambda account: (job.counts[account], account))
        self._job = job
        self._order = array("H")
        reached = 0
        for least, account in enumerate(self.accounts):
            turn = array("H", range(least, len(self.accounts)))
            self._order.extend(turn * (job.counts[account] - reached))
            reached = job.counts[account]
        request = Request.model_validate(
            {
                "v": 1,
                "run": RUN,
                "partner": job.kind.name,
                "report": "stats",
                "account": "@account",
                "first_day": "2026-11-21",
                "last_day": "2026-11-21",
                "params": {"n": "@n"},
                "formats": ["parquet"],
                "credential": "main",
            }
        )
        data = orjson.loads(request.to_json())
        self._fields = {name: value for name, value in data.items() if name != "id"}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._order)

    def account(self, offset: int) -> str:
        """Return whose request lies there."""
        return self.accounts[self._order[offset]]

    def message(self, offset: int) -> Message:
        """Return one message."""
        account = self.account(offset)
        params = {"n": str(offset)}
        fields = self._fields
        identity = request_id(
            fields["run"],
            fields["partner"],
            fields["report"],
            account,
            fields["first_day"],
            fields["last_day"],
            canonical_params(params),
        )
        value = orjson.dumps({**fields, "id": identity, "account": account, "params": params})
        return Message(
            f"requests.{self._job.kind.name}",
            self._job.index,
            offset,
            account.encode(),
            value,
            (),
            WALL,
        )


class Day:
    """Plays one job."""

    def __init__(self, job: Job) -> None:
        """Begin at midnight with everything enqueued."""
        self._job = job
        self._random = Random(job.seed)
        self._topic = Topic(job)
        self._name = f"requests.{job.kind.name}"
        self._meters: dict[str, PartnerMeter] = {}
        self._time = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._commit = 0
        self._position = 0
        self._ends: dict[int, tuple[int, End]] = {}
        self._ended = bytearray(len(self._topic))
        self._published = bytearray(len(self._topic))
        self._ended_count = 0
        self._read_at: int | None = None
        self.played = Played(job.kind.name, len(self._topic))

    def play(self) -> Played:
        """Play all tenures until every request has ended."""
        for tenure in self._job.tenures:
            self._sample(tenure.start, None)
            if self._ended_count == len(self._topic):
                break
            self._tenure(tenure)
        return self.played

    def _tenure(self, tenure: Tenure) -> None:
        self._time = tenure.start
        self._events.clear()
        self._fence = Fence(45.0, HEARTBEAT_SECONDS)
        self._engine = engine = Engine(
            rules={self._job.kind.name: self._job.kind.rules()},
            settings=EngineSettings(store_id="ab12", threads=THREADS),
            fence=self._fence,
            random=self._random,
            strikes={},
        )
        self._restore()
        (partition,) = engine.partitions()
        while self._time < tenure.end and self._ended_count < len(self._topic):
            self._turn(partition)
        if not tenure.crashed:
            self._drain(partition)

    def _restore(self) -> None:
        """Begin where the ledger and the commit say."""
        job, image = self._job, LedgerImage()
        for position, end in sorted(self._ends.values(), key=lambda known: known[0]):
            image.apply(position, end)
        image.next_position = self._position
        self._read_at = None
        self._engine.assigned(job.kind.name, job.index)
        topics = [
            RestoredTopic(self._name, self._commit, len(self._topic)),
            RestoredTopic(f"backfill.{job.kind.name}", 0, 0),
        ]
        self._engine.restored(
            job.kind.name,
            job.index,
            topics=topics,
            image=image,
            partition_count=job.kind.partitions,
            now=self._now(),
        )

    def _turn(self, partition: Partition) -> None:
        engine = self._engine
        while self._events and self._events[0][0] <= self._time:
            heapq.heappop(self._events)[2]()
        self._read()
        now = self._now()
        engine.step(now)
        self._carry_out()
        self._sample(self._time, partition)
        wake = engine.next_wake(now)
        if self._events:
            wake = min(wake, self._events[0][0])
        if self._read_at is not None and self._read_at < len(self._topic):
            wake = self._time
        self._time = max(wake, self._time + LEAST_SECONDS)

    def _read(self) -> None:
        """Deliver messages until the engine has enough of them."""
        now = self._now()
        for _ in range(READ_AT_ONCE):
            if self._read_at is None or self._read_at >= len(self._topic):
                return
            offset = self._read_at
            self._read_at = offset + 1
            self._engine.message(self._topic.message(offset), now)

    def _drain(self, partition: Partition) -> None:
        """Give the partition away: what is under way ends, the last commit says so."""
        key = (self._job.kind.name, self._job.index)
        self._engine.revoking([key])
        while not self._engine.is_drained([partition]) and self._events:
            at, _, event = heapq.heappop(self._events)
            self._time = max(self._time, at)
            event()
            self._carry_out()
        self._committed(self._engine.offsets_of([partition]))

    # --- hands -----------------------------------------------------------------------------

    def _carry_out(self) -> None:
        while actions := self._engine.take_actions():
            for action in actions:
                self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case StartCall(entry):
                self._after(self._random.uniform(0.0, 0.002), lambda: self._called(entry))
            case Finish(entry, _):
                self._after(0.005, lambda: self._store(entry))
            case WriteEnd(entry, end):
                self._after(0.005, lambda: self._confirm(entry, end))
            case LookAt(entry):
                found = Looked((FILE,)) if self._published[entry.message.offset] else Looked()
                self._after(0.001, lambda: self._engine.looked(entry, found, self._now()))
            case Commit():
                self._after(0.005, lambda: self._answer_commit(action))
            case Read((topic, _), offset) if topic == self._name:
                self._read_at = offset
            case Pause((topic, _)) if topic == self._name:
                self._read_at = None
            case _:
                pass

    def _called(self, entry: Entry) -> None:
        """Let the partner count a call when it arrives, and answer it."""
        account, sent_at = entry.request.account, self._time
        played = self.played
        played.calls += 1
        if self._job.kind.says:
            played.called_at.append(sent_at)
        played.called[account] += 1
        played.finished_at[account] = sent_at
        played.repeated += self._ended[entry.message.offset]
        meter = self._meters.get(account)
        if meter is None:
            meter = self._meters[account] = make_meter(self._job.kind.limit, WALL)
        verdict = OK
        if meter.wait(sent_at):
            played.over += 1
            played.over_at.append(sent_at)
            verdict = SLOWER if self._job.kind.says else OK
        else:
            meter.charge(sent_at)
        latency = self._random.uniform(0.1, 0.3)
        self._after(
            latency, lambda: self._engine.answered(entry, verdict, b"rows", sent_at, self._now())
        )

    def _store(self, entry: Entry) -> None:
        self._published[entry.message.offset] = 1
        self._engine.published(entry, (FILE,), "", self._now())

    def _confirm(self, entry: Entry, end: End) -> None:
        position = self._position
        self._position += 1
        self._ends[end.offset] = (position, end)
        if not self._ended[end.offset]:
            self._ended[end.offset] = 1
            self._ended_count += 1
        self._engine.end_confirmed(entry, end, position, self._now())

    def _answer_commit(self, commit: Commit) -> None:
        self._committed(commit)
        self._engine.committed([(*part, None) for part in commit.offsets])

    def _committed(self, commit: Commit) -> None:
        for (topic, _), (offset, _metadata) in commit.offsets.items():
            if topic == self._name:
                for done in range(self._commit, offset):
                    self._ends.pop(done, None)
                self._commit = max(self._commit, offset)

    # --- time ------------------------------------------------------------------------------

    def _now(self) -> Now:
        return Now(self._time, WALL + self._time, self._time)

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._time + seconds, self._number, event))

    def _sample(self, until: float, partition: Partition | None) -> None:
        """Look as the observer does; nobody knows more while a partition has no owner."""
        played = self.played
        while len(played.samples) * SAMPLE_SECONDS <= until:
            before = played.samples[-1][1] if played.samples else 0
            most = before if partition is None else partition.most_open()
            played.samples.append((self._ended_count, most))
            if partition is not None:
                parked = sum(book.parked_count for book in partition.books.values())
                played.parked_most = max(played.parked_most, parked)
                played.entries_most = max(played.entries_most, len(partition.entries))
