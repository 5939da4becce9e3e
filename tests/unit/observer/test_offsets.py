"""Lag and runs, from what the broker says."""

from collections.abc import Iterable

from reportd.broker.message import Message, Part
from reportd.broker.reader import Committed
from reportd.broker.topics import Topics
from reportd.model.run import Manifest, TopicSpan
from reportd.observer.offsets import Lag, Offsets, look
from reportd.observer.runs import Runs, open_at_most

TOPICS = Topics("p")
REQUESTS = "p.requests.acme"


class FakeCluster:
    """A broker with one partner of two partitions."""

    def topics(self) -> dict[str, int]:
        return {REQUESTS: 2, "p.backfill.acme": 1, "p.ledger.acme": 2, "p.vms": 1, "other": 5}

    def group_offsets(self, group: str) -> dict[Part, Committed]:
        assert group == "p"
        return {(REQUESTS, 0): Committed(70, ""), ("p.gone", 0): Committed(3, "")}

    def begin_offsets(self, parts: Iterable[Part]) -> dict[Part, int]:
        return dict.fromkeys(parts, 20)

    def end_offsets(self, parts: Iterable[Part]) -> dict[Part, int]:
        return dict.fromkeys(parts, 100)


def test_lag_counts_from_the_commit_or_the_beginning() -> None:
    """Requests and backfill topics alone; without a commit all that is kept is lag."""
    found = look(FakeCluster(), TOPICS, "p")

    assert found.lags == {
        (REQUESTS, 0): Lag("acme", 70, 100),
        (REQUESTS, 1): Lag("acme", 20, 100),
        ("p.backfill.acme", 0): Lag("acme", 20, 100),
    }
    assert found.lags[REQUESTS, 0].lag == 30
    assert found.partners() == {"acme"}


def manifest(run: str, **spans: tuple[int, int]) -> Manifest:
    """Return a run's manifest; spans as p0, p1 ..."""
    numbered = {int(name[1:]): span for name, span in spans.items()}
    count = sum(end - first for first, end in numbered.values())
    return Manifest(
        run=run,
        requests=count,
        ids_hash="0",
        topics=[TopicSpan(topic=REQUESTS, requests=count, spans=numbered)],
        enqueued_at=1.0,
    )


def test_open_of_a_run() -> None:
    """What lies at or behind the commits of a run's own offsets, in each partition."""
    offsets = Offsets({(REQUESTS, 0): Lag("acme", 70, 100), (REQUESTS, 1): Lag("acme", 20, 100)})

    assert open_at_most(manifest("daily/2026-11-22T04:00Z#1", p0=(50, 90)), offsets) == 20
    assert open_at_most(manifest("daily/2026-11-22T04:00Z#1", p0=(0, 70)), offsets) == 0
    assert open_at_most(manifest("daily/2026-11-22T04:00Z#1", p1=(30, 40)), offsets) == 10
    assert open_at_most(manifest("daily/2026-11-22T04:00Z#1", p7=(0, 4)), offsets) == 4


def test_newest_run_of_each_schedule() -> None:
    """Slot, then revision, decide; claims and nonsense are passed over."""
    runs = Runs()
    values = [
        manifest("daily/2026-11-22T04:00Z#2", p0=(0, 1)).to_json(),
        manifest("daily/2026-11-22T04:00Z#1", p0=(0, 1)).to_json(),
        manifest("daily/2026-11-21T04:00Z#9", p0=(0, 1)).to_json(),
        manifest("weekly/2026-11-15T04:00Z#1", p0=(0, 1)).to_json(),
        b'{"v":1,"type":"claim","run":"daily/2026-11-23T04:00Z#1"}',
        b"nonsense",
        b"",
    ]
    for offset, value in enumerate(values):
        runs.see(Message("p.runs", 0, offset, None, value))

    assert {schedule: found.run for schedule, found in runs.newest().items()} == {
        "daily": "daily/2026-11-22T04:00Z#2",
        "weekly": "weekly/2026-11-15T04:00Z#1",
    }
