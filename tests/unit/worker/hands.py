"""An engine with hands that do at once what it asks, and a clock that a test moves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import orjson

from reportd.broker.message import Message
from reportd.limits.limiter import LimitRule, Now
from reportd.model.ledger import End, Grant, PublishedFile, Step
from reportd.model.request import Request
from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import (
    Action,
    Commit,
    Finish,
    Forward,
    LookAt,
    Spool,
    StartCall,
    WriteDead,
    WriteEnd,
    WriteGrant,
    WriteStep,
)
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.fence import Fence
from reportd.worker.ledger import LedgerImage
from reportd.worker.partition import Looked, Partition, RestoredTopic
from reportd.worker.settings import EngineSettings
from reportd.worker.snapshot import snapshot
from tests.unit.worker.making import REQUESTS, RETRY, Rules, at, message

OK = Verdict(outcome=Outcome.OK)
FILE = PublishedFile(path="a", day="2026-11-21", format="parquet", rows=3, bytes=9, checksum="x")


class Hands:
    """Does everything but calls, and what a test keeps from it (``kept`` actions)."""

    def __init__(
        self,
        *,
        limits: Sequence[LimitRule] = (),
        strikes: Mapping[str, int] | None = None,
        partners: Sequence[str] = ("acme",),
        is_fenced: bool = False,
        **settings: Any,
    ) -> None:
        self.fence = Fence(45.0, 3.0)
        self.engine = Engine(
            rules={name: Rules(name, limits, RETRY) for name in partners},
            settings=EngineSettings(store_id="ab12", **settings),
            fence=self.fence,
            random=Random(7),
            strikes=strikes or {},
        )
        self.seconds = 0.0
        self.position = 0
        """The ledger's end."""
        self.kept: tuple[type, ...] = (StartCall,)
        """Actions that a test carries out itself."""
        self.commit_error: str | None = "away" if is_fenced else None
        self.looks: dict[str, Looked] = {}
        self.log: list[Action] = []
        self.calls: list[Entry] = []
        self.ends: list[End] = []
        self.grants: list[Grant] = []
        self.committed: dict[tuple[str, int], tuple[int, str]] = {}

    @property
    def now(self) -> Now:
        return at(self.seconds)

    def own(
        self,
        partner: str = "acme",
        *,
        records: Sequence[End | Step | Grant] = (),
        start: int = 0,
        high: int = 0,
        partitions: int = 1,
        index: int = 0,
    ) -> Partition:
        """Take a partition, with what its ledger holds."""
        image = LedgerImage()
        for position, record in enumerate(records):
            image.apply(position, record)
        self.position = image.next_position
        self.engine.assigned(partner, index)
        topics = [RestoredTopic(f"requests.{partner}", start, high)]
        topics.append(RestoredTopic(f"backfill.{partner}", 0, 0))
        self.engine.restored(
            partner, index, topics=topics, image=image, partition_count=partitions, now=self.now
        )
        self.go()
        return self.partition(partner, index)

    def partition(self, partner: str = "acme", index: int = 0) -> Partition:
        """Return a partition it owns."""
        found = [p for p in self.engine.partitions() if (p.partner, p.index) == (partner, index)]
        return found[0]

    def put(self, *of: Request | bytes | Message) -> None:
        """Deliver messages one after the other, a moment apart, and do what follows."""
        for one in of:
            self.engine.message(one if isinstance(one, Message) else message(one), self.now)
            self.go(0.0625)

    def go(self, seconds: float = 0.0) -> None:
        """Let time pass, in steps of at most a second, and do all that is asked."""
        until = self.seconds + seconds
        while True:
            self.engine.step(self.now)
            while actions := self.engine.take_actions():
                for action in actions:
                    self._do(action)
                self.engine.step(self.now)
            if self.seconds >= until:
                return
            self.seconds = min(until, self.seconds + 1.0)

    def answer(self, entry: Entry, verdict: Verdict = OK, body: bytes = b"rows") -> None:
        """Let a call come back."""
        self.calls.remove(entry)
        self.engine.answered(entry, verdict, body, self.seconds, self.now)
        self.go()

    def dead_letter(self) -> WriteDead:
        """Return the only dead letter."""
        (written,) = (action for action in self.log if isinstance(action, WriteDead))
        return written

    def asked(self) -> list[str]:
        """Return the accounts whose calls are under way."""
        return [entry.request.account for entry in self.calls]

    def done(self, kind: type) -> list[Any]:
        """Return all actions of a kind so far."""
        return [action for action in self.log if isinstance(action, kind)]

    def states(self) -> list[tuple[str, str]]:
        """Return account and state of every confirmed end."""
        return [(end.account, end.state) for end in self.ends]

    def shown(self) -> Counter[str]:
        """Return how many requests the snapshot shows in each state, of all topics."""
        found = Counter[str]()
        for topic in orjson.loads(snapshot(self.engine, self.fence, self.now))["partitions"]:
            found.update(topic["states"])
        return found

    def offset(self, topic: str = REQUESTS) -> int:
        """Return what would be committed now."""
        return self.partition().books[topic].commit_position()

    def confirm(self, action: WriteEnd | WriteStep | WriteGrant | WriteDead) -> None:
        """Let a record be confirmed."""
        position = self.position
        match action:
            case WriteEnd(entry, end):
                self.position += 1
                self.ends.append(end)
                self.engine.end_confirmed(entry, end, position, self.now)
            case WriteStep(entry, step):
                self.position += 1
                self.engine.step_confirmed(entry, step, position, self.now)
            case WriteGrant(partition, grant):
                self.position += 1
                self.grants.append(grant.record)
                self.engine.granted(partition, grant, position, self.now)
            case WriteDead(entry, _):
                self.engine.dead_confirmed(entry)

    def _do(self, action: Action) -> None:
        self.log.append(action)
        if isinstance(action, StartCall):
            self.calls.append(action.entry)
        if isinstance(action, self.kept):
            return
        engine, now = self.engine, self.now
        match action:
            case LookAt(entry):
                engine.looked(entry, self.looks.get(entry.request.account, Looked()), now)
            case Spool(entry, _):
                file = f"{entry.request.id}.{entry.generation}.{len(entry.steps) + 1}"
                engine.spooled(entry, file, 1, "sha256:00", now)
            case Finish(entry, _):
                engine.published(entry, (FILE,), "", now)
            case WriteEnd() | WriteStep() | WriteGrant() | WriteDead():
                self.confirm(action)
            case Forward(of):
                engine.forwarded(of)
            case Commit(offsets):
                if self.commit_error is None:
                    self.committed.update(offsets)
                engine.committed([(*part, self.commit_error) for part in offsets])
            case _:
                pass
