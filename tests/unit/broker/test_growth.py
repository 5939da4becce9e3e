"""Topics grow when nothing is open, each after what it needs."""

from collections.abc import Iterable

import pytest

from reportd.broker.growth import grow, offset_lag
from reportd.broker.message import Part
from reportd.broker.reader import Committed
from reportd.broker.topics import Topics

TOPICS = Topics("r")
REQUESTS, BACKFILL, LEDGER = (
    TOPICS.requests("acme"),
    TOPICS.backfill("acme"),
    TOPICS.ledger("acme"),
)


class Cluster:
    """Three topics of two partitions."""

    def __init__(self) -> None:
        self.counts = {REQUESTS: 2, BACKFILL: 2, LEDGER: 2}
        self.commits: dict[Part, Committed] = {}
        self.ends: dict[Part, int] = {}
        self.begins: dict[Part, int] = {}
        self.grown: list[tuple[str, int, bool]] = []

    def topics(self) -> dict[str, int]:
        return self.counts

    def group_offsets(
        self, group: str, topics: Iterable[str] | None = None
    ) -> dict[Part, Committed]:
        assert group == "r"
        assert topics is not None
        return {part: commit for part, commit in self.commits.items() if part[0] in set(topics)}

    def begin_offsets(self, parts: list[Part]) -> dict[Part, int]:
        return {part: self.begins.get(part, 0) for part in parts}

    def end_offsets(self, parts: list[Part]) -> dict[Part, int]:
        return {part: self.ends.get(part, 0) for part in parts}

    def grow(self, topic: str, partitions: int, *, dry_run: bool = False) -> None:
        self.grown.append((topic, partitions, dry_run))


def test_lag_is_end_minus_commit() -> None:
    """Without a commit everything that is kept is open; the ledger is nobody's lag."""
    cluster = Cluster()
    cluster.ends = {(REQUESTS, 0): 10, (REQUESTS, 1): 10, (BACKFILL, 1): 5, (LEDGER, 0): 99}
    cluster.commits = {(REQUESTS, 0): Committed(7, ""), (BACKFILL, 1): Committed(5, "")}
    cluster.begins = {(REQUESTS, 1): 4}

    assert offset_lag(cluster, TOPICS, "r", ["acme", "unknown"]) == {
        (REQUESTS, 0): 3,
        (REQUESTS, 1): 6,
        (BACKFILL, 0): 0,
        (BACKFILL, 1): 0,
    }


def test_requests_grow_last() -> None:
    """No request may lie where there is no ledger."""
    cluster = Cluster()

    assert grow(cluster, TOPICS, "acme", 4) == [LEDGER, BACKFILL, REQUESTS]
    assert cluster.grown == [(LEDGER, 4, False), (BACKFILL, 4, False), (REQUESTS, 4, False)]


def test_what_was_begun_goes_on() -> None:
    """After a failure in the middle only the rest grows."""
    cluster = Cluster()
    cluster.counts[LEDGER] = 4

    assert grow(cluster, TOPICS, "acme", 4) == [BACKFILL, REQUESTS]


def test_topics_do_not_shrink() -> None:
    """Nor do they grow where one is missing."""
    cluster = Cluster()

    with pytest.raises(ValueError, match="none can go"):
        grow(cluster, TOPICS, "acme", 1)
    del cluster.counts[BACKFILL]
    with pytest.raises(ValueError, match="missing"):
        grow(cluster, TOPICS, "acme", 4)
    assert cluster.grown == []
