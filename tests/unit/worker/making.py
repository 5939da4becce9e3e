"""Requests, messages and partitions for tests, in few words."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reportd.broker.message import Message
from reportd.errors import InvalidMessageError
from reportd.limits.limiter import LimitRule, Now, Scope
from reportd.model.control import Control
from reportd.model.ledger import End, EndState, Step
from reportd.model.request import Request
from reportd.worker.circuits import Circuits
from reportd.worker.entry import Entry
from reportd.worker.ledger import LedgerImage
from reportd.worker.partition import Partition, RestoredTopic, RetryRules

WALL = 1_795_000_000.0
REQUESTS, BACKFILL = "requests.acme", "backfill.acme"
RETRY = RetryRules(
    attempts=3, base_seconds=1.0, max_seconds=64.0, hold_seconds=10.0, give_up_seconds=1_000.0
)

CONTROL = ("control", 0)

_offsets = itertools.count(1_000)
_control_offsets = itertools.count()


def at(seconds: float) -> Now:
    """Return an instant that is the same on the monotonic and the boottime clock."""
    return Now(seconds, WALL + seconds, seconds)


def request(account: str = "a", **fields: Any) -> Request:
    """Make a valid request."""
    return Request.model_validate(
        {
            "v": 1,
            "run": "daily/2026-11-22T04:00Z#1",
            "partner": "acme",
            "report": "stats",
            "account": account,
            "first_day": "2026-11-21",
            "last_day": "2026-11-21",
            "formats": ["parquet"],
            "credential": "main",
            **fields,
        }
    )


def message(
    of: Request | bytes,
    offset: int | None = None,
    topic: str = REQUESTS,
    partition: int = 0,
    **headers: str,
) -> Message:
    """Make the message of a request, or one of any bytes; each at an offset of its own."""
    return Message(
        topic,
        partition,
        next(_offsets) if offset is None else offset,
        b"key",
        of if isinstance(of, bytes) else of.to_json(),
        tuple((name, value.encode()) for name, value in headers.items()),
        WALL,
    )


def record(scope: str, action: str = "", **fields: Any) -> Message:
    """Make a record of the topic of controls; without an action it lifts what was asked for."""
    value = b""
    if action:
        document = {"scope": scope, "action": action, "at": WALL, **fields}
        value = Control.model_validate(document).to_json()
    return Message(*CONTROL, next(_control_offsets), scope.encode(), value, (), WALL)


@dataclass
class Rules:
    """A partner as the engine sees it."""

    name: str = "acme"
    limits: Sequence[LimitRule] = ()
    retry: RetryRules = RETRY

    def check(self, request: Request) -> None:
        if request.report == "unknown":
            raise InvalidMessageError("report: this partner has no such report")

    def key_of(self, request: Request) -> str:
        return request.account

    def scopes_of(self, request: Request) -> tuple[Scope, ...]:
        return (
            Scope("partner", self.name),
            Scope("credential", request.credential),
            Scope("report", request.report),
            Scope("account", request.account),
        )


def entry(account: str = "a", *, strikes: int = 0, **fields: Any) -> Entry:
    """Make an open request that no engine knows."""
    of = request(account, **fields)
    return Entry(
        message=message(of),
        request=of,
        replay=0,
        alive=lambda: True,
        scopes=Rules().scopes_of(of),
        strikes=strikes,
    )


def partition(*limits: LimitRule, retry: RetryRules = RETRY) -> Partition:
    """Make a restored partition with empty topics whose limits are rested."""
    made = Partition(Rules(limits=limits, retry=retry), 0, Circuits())
    topics = [RestoredTopic(name, 0, 0) for name in (REQUESTS, BACKFILL)]
    made.restored(topics, LedgerImage(), at(-100_000.0))
    return made


def end(identity: str = "id", state: EndState = "result", **fields: Any) -> End:
    """Make an end record."""
    return End(**{"id": identity, "topic": REQUESTS, "offset": 0, "state": state, **fields})


def step(identity: str = "id", attempt: int = 0, number: int = 1, **fields: Any) -> Step:
    """Make a step record."""
    values: dict[str, Any] = {
        "id": identity,
        "topic": REQUESTS,
        "offset": 0,
        "attempt": attempt,
        "step": number,
        "cursor": {"page": str(number + 1)},
        "file": f"{identity[0]}/{identity}.{attempt}.{number}.zst",
        "bytes": 1,
        "checksum": "sha256:00",
        "calls": number,
    }
    return Step(**{**values, **fields})


@dataclass
class StoppedClock:
    """A clock that a test moves."""

    seconds: float = 0.0

    def wall(self) -> float:
        return WALL + self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def boottime(self) -> float:
        return self.seconds
