"""Runs: all the requests of one schedule slot and revision; their records in the topic ``runs``."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Self

import orjson

from reportd.errors import InvalidMessageError
from reportd.model.base import Record

_RUN = re.compile(r"^([a-z][a-z0-9_-]{0,63})/(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?Z)#(\d{1,6})$")


class RunOrder(NamedTuple):
    """What runs are ordered by, whatever their schedule."""

    slot: float
    """Epoch seconds of the slot's instant."""
    revision: int


class RunId(NamedTuple):
    """``daily/2026-11-22T04:00Z#1``: schedule, slot's instant (UTC), revision."""

    schedule: str
    slot: datetime
    revision: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a run's name; raises `InvalidMessageError`."""
        found = _RUN.fullmatch(text)
        if not found:
            raise InvalidMessageError("run: not like daily/2026-11-22T04:00Z#1")
        try:
            slot = datetime.fromisoformat(found[2].replace("Z", "+00:00"))
        except ValueError:
            raise InvalidMessageError("run: its slot is no instant") from None
        return cls(found[1], slot, int(found[3]))

    @property
    def order(self) -> RunOrder:
        """What this run is ordered by."""
        return RunOrder(self.slot.timestamp(), self.revision)

    def __str__(self) -> str:
        """Return the run's name."""
        slot = self.slot.astimezone(UTC)
        text = slot.strftime("%Y-%m-%dT%H:%M:%SZ" if slot.second else "%Y-%m-%dT%H:%MZ")
        return f"{self.schedule}/{text}#{self.revision}"


def order_of(run: str) -> RunOrder:
    """Return what a run is ordered by; one of no known form is older than any."""
    try:
        return RunId.parse(run).order
    except InvalidMessageError:
        return RunOrder(float("-inf"), 0)


class Claim(Record):
    """An enqueuer's lease on a run, in the topic ``runs`` until the manifest replaces it."""

    v: Literal[1] = 1
    type: Literal["claim"] = "claim"
    run: str
    machine: str
    claimed_at: float
    expires_at: float
    holder: str = ""
    """Which process of the machine: a claim whose process is gone is free before its lease ends."""
    replaces: str = ""
    """The holder whose process was found gone: this claim counts although that one's lease runs."""
    starts: dict[str, dict[int, int]] = {}
    """Topic and partition -> the offset before which nothing of this run can lie."""


class TopicSpan(Record):
    """Where a run's requests lie in one topic: per partition, first offset and last offset + 1."""

    topic: str
    requests: int
    spans: dict[int, tuple[int, int]]


class Manifest(Record):
    """What a run enqueued, read back from the topics; in the topic ``runs``, key = the run."""

    v: Literal[1] = 1
    type: Literal["manifest"] = "manifest"
    run: str
    requests: int
    ids_hash: str
    """XOR of the first 16 hex digits of every distinct id: equal ids, equal hash, any order."""
    topics: list[TopicSpan]
    account_days: dict[str, int] = {}
    """``partner.report`` -> account-days expected."""
    deadline: float | None = None
    enqueued_at: float
    starts: dict[str, dict[int, int]] = {}
    """Topic and partition -> the offset before which nothing of this run can lie."""


class Covered(Record):
    """What a run brought of one report."""

    expected: int = 0
    """Account-days that should be there."""
    missing: int = 0
    """Those of them that are not."""
    provisional: int = 0
    """Account-days that may still change."""
    files: int = 0
    unchanged: int = 0
    """Files with the content that stood there before."""
    rows: int = 0
    bytes: int = 0


class Finished(Record):
    """A run is over: all its requests have ended; in the topic ``runs``, key = `finished_key`."""

    v: Literal[1] = 1
    type: Literal["finished"] = "finished"
    run: str
    mend: int = 0
    """0: the first time; each time that more has ended since is the next."""
    state: Literal["complete", "partial"]
    ids_hash: str
    """Its manifest's, when it was found to be over."""
    mendings: int = 0
    """How many of its `Mending` records are in it."""
    requests: int
    states: dict[str, int] = {}
    """How the requests ended: state -> how many."""
    reports: dict[str, Covered] = {}
    """By ``partner.report``."""
    file: str
    """Where the whole account of it lies, below the output's root."""
    deadline: float | None = None
    first_call_at: float | None = None
    last_end_at: float | None = None
    finished_at: float
    notified: bool = False
    """Whoever is to be told has been, or need not be."""

    @property
    def event(self) -> str:
        """What is told of as one: a notification's idempotency key."""
        return f"{self.run}+{self.mend}" if self.mend else self.run


class Mending(Record):
    """Dead letters of a run are sent again; in the topic ``runs``, key = `mending_key`."""

    v: Literal[1] = 1
    type: Literal["mending"] = "mending"
    run: str
    name: str
    """Tells it from the run's others."""
    at: float
    topics: dict[str, dict[int, int]]
    """Topic and partition -> the offset from which on they lie."""
    ends: dict[str, dict[int, int]] = {}
    """Topic and partition -> the offset before which they lie; empty: not all are sent yet."""


RunRecord = Claim | Manifest | Finished | Mending
_RECORDS: Mapping[str, type[RunRecord]] = {
    "claim": Claim,
    "manifest": Manifest,
    "finished": Finished,
    "mending": Mending,
}


def parse_run_record(data: bytes) -> RunRecord:
    """Parse a record of the topic ``runs``; raises `InvalidMessageError`."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidMessageError(f"not JSON: {error}") from None
    kind = _RECORDS.get(found.get("type", "") if isinstance(found, dict) else "")
    if kind is None:
        raise InvalidMessageError("type: no record of a run")
    record = kind.from_json(data)
    RunId.parse(record.run)
    return record


def finished_key(run: str) -> str:
    """Return the key of a run's `Finished`."""
    return f"{run}+finished"


def mending_key(record: Mending) -> str:
    """Return the key of a `Mending`."""
    return f"{record.run}+mending-{record.name}"
