"""Runs: all the requests of one schedule slot and revision; their claims and manifests."""

import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Self

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
