"""Growing a partner's topics, when nothing of it is open. Run by ``reportctl topics grow``.

Growing moves keys to other partitions, and with them the limits: a request must not be open in
the old place while the new one has none of its history.
"""

from collections.abc import Iterable
from typing import Protocol

from reportd.broker.message import Part
from reportd.broker.reader import Committed
from reportd.broker.topics import Topics


class Offsets(Protocol):
    """What of `Admin` is asked for."""

    def topics(self) -> dict[str, int]:
        """Return every topic's partition count."""
        ...

    def group_offsets(
        self, group: str, topics: Iterable[str] | None = None
    ) -> dict[Part, Committed]:
        """Return a group's commits in these topics."""
        ...

    def begin_offsets(self, parts: list[Part]) -> dict[Part, int]:
        """Return the first offsets kept."""
        ...

    def end_offsets(self, parts: list[Part]) -> dict[Part, int]:
        """Return the ends."""
        ...


class Growing(Offsets, Protocol):
    """What of `Admin` changes something."""

    def grow(self, topic: str, partitions: int, *, dry_run: bool = False) -> None:
        """Raise a topic's partition count."""
        ...


def offset_lag(
    cluster: Offsets, topics: Topics, group: str, partners: list[str]
) -> dict[Part, int]:
    """Return, for every partition of requests and backfill, end - commit.

    It counts finished requests behind an open one too, so it is never less than what is open.
    """
    present = cluster.topics()
    parts = [
        (name, number)
        for partner in partners
        for name in (topics.requests(partner), topics.backfill(partner))
        for number in range(present.get(name, 0))
    ]
    commits = cluster.group_offsets(group, {name for name, _ in parts})
    ends = cluster.end_offsets(parts)
    begins = cluster.begin_offsets([part for part in parts if part not in commits])
    done = {**begins, **{part: commit.offset or 0 for part, commit in commits.items()}}
    return {part: max(0, ends[part] - done[part]) for part in parts}


def grow(
    cluster: Growing, topics: Topics, partner: str, partitions: int, *, dry_run: bool = False
) -> list[str]:
    """Grow ledger, backfill and requests, in that order; return the topics that grew.

    The caller has seen `offset_lag` at zero. Run again after a failure, it goes on.
    """
    present = cluster.topics()
    order = (topics.ledger(partner), topics.backfill(partner), topics.requests(partner))
    too_large = [name for name in order if present.get(name, 0) > partitions]
    missing = [name for name in order if name not in present]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}; see 'reportctl topics create'")
    if too_large:
        raise ValueError(f"{too_large[0]} has {present[too_large[0]]} partitions: none can go")
    grown = [name for name in order if present[name] < partitions]
    for name in grown:
        cluster.grow(name, partitions, dry_run=dry_run)
    return grown
