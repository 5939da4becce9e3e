"""Which runs have something due, from the topic's records and the commits."""

import pytest

from reportd.broker.message import Message
from reportd.model.run import Finished, Manifest, Mending, TopicSpan
from reportd.observer.offsets import Lag, Offsets
from reportd.observer.runs import HELD_UP_SECONDS, REMEMBERED_SECONDS, SETTLED_SECONDS, Runs

REQUESTS = "p.requests.acme"
RUN = "daily/2026-11-22T04:00Z#1"
WALL = 1_000_000.0
HASH = "00000000000000aa"


def manifest(run: str = RUN, ids_hash: str = HASH, end: int = 50) -> Manifest:
    """Return a run of the offsets 40 to ``end`` of one partition."""
    span = TopicSpan(topic=REQUESTS, requests=end - 40, spans={0: (40, end)})
    return Manifest(run=run, requests=end - 40, ids_hash=ids_hash, topics=[span], enqueued_at=WALL)


def finished(*, mend: int = 0, mendings: int = 0, notified: bool = True) -> Finished:
    """Return that the run is over."""
    return Finished(
        run=RUN,
        mend=mend,
        mendings=mendings,
        state="partial",
        ids_hash=HASH,
        requests=10,
        file="",
        finished_at=WALL,
        notified=notified,
    )


def mending(ends: dict[str, dict[int, int]]) -> Mending:
    """Return that dead letters are sent again, behind offset 60."""
    return Mending(run=RUN, name="one", at=WALL, topics={REQUESTS: {0: 60}}, ends=ends)


def at(commit: int, end: int = 100) -> Offsets:
    """Return a commit of the one partition."""
    return Offsets({(REQUESTS, 0): Lag("acme", commit, end)})


def seen(*records: Manifest | Finished | Mending) -> Runs:
    """Return the runs after some records."""
    runs = Runs()
    for offset, record in enumerate(records):
        runs.see(Message("p.runs", 0, offset, None, record.to_json()))
    return runs


def test_due_when_every_offset_is_committed() -> None:
    """One open request, and the run is not over."""
    runs = seen(manifest())

    assert runs.due(at(49), WALL) == ()
    (due,) = runs.due(at(50), WALL)
    assert (due.manifest.run, due.mend, due.is_untold) == (RUN, 0, False)


def test_who_is_held_up_by_others_may_be_over() -> None:
    """What is open before a run (a paused account) keeps its commits back: ledgers tell."""
    runs = seen(manifest())
    late = WALL + HELD_UP_SECONDS

    assert runs.due(at(30), WALL) == ()
    assert runs.due(at(30), late - 1) == ()
    assert [due.is_held_up for due in runs.due(at(30), late)] == [True]
    assert runs.due(at(31), late) == ()
    (due,) = runs.due(at(50), late)
    assert not due.is_held_up


def test_whose_own_request_is_open_is_not_over() -> None:
    """However long it takes: nothing is read for it."""
    runs = seen(manifest())
    runs.due(at(40), WALL)

    assert runs.due(at(40), WALL + 10 * HELD_UP_SECONDS) == ()


@pytest.mark.parametrize(("commit", "is_held"), [(30, True), (59, True), (60, False)])
def test_a_replay_that_others_hold_up_is_looked_at(commit: int, *, is_held: bool) -> None:
    """It is not counted as seen to: that it is when all of it is committed."""
    runs = seen(manifest(), finished(), mending({REQUESTS: {0: 64}}))
    assert runs.due(at(commit), WALL) == ()

    found = runs.due(at(commit), WALL + HELD_UP_SECONDS)
    assert [(due.mend, due.mendings, due.is_held_up) for due in found] == [(1, 0, True)] * is_held


def test_older_runs_are_known_until_they_are_over() -> None:
    """A newer one was enqueued meanwhile: that one's numbers do not say what is left of it."""
    newer, other = manifest("daily/2026-11-23T04:00Z#1"), manifest("a/2026-11-20T04:00Z#1")
    before = manifest("daily/2026-11-21T04:00Z#1")

    runs = seen(before, manifest(), newer, other)
    assert [one.run for one in runs.older()] == [RUN, before.run]
    assert [one.run for one in seen(manifest(), newer, finished()).older()] == []


def test_oldest_first() -> None:
    """Markers of days follow the runs' order."""
    runs = seen(
        manifest("daily/2026-11-23T04:00Z#1"), manifest(), manifest("a/2026-11-20T04:00Z#1")
    )

    assert [due.manifest.run for due in runs.due(at(50), WALL)] == [
        "a/2026-11-20T04:00Z#1",
        RUN,
        "daily/2026-11-23T04:00Z#1",
    ]


def test_nothing_is_due_of_what_is_told() -> None:
    """Once written and told of it is over; written alone it is still to be told."""
    assert seen(manifest(), finished()).due(at(50), WALL) == ()

    (due,) = seen(manifest(), finished(notified=False)).due(at(50), WALL)
    assert due.is_untold


def test_more_requests_make_it_due_again() -> None:
    """After ``--add`` the manifest is another one: the run is over when those have ended, too."""
    runs = seen(manifest(), finished(), manifest(ids_hash="bb", end=60))

    assert runs.due(at(50), WALL) == ()
    assert [due.mend for due in runs.due(at(60), WALL)] == [1]


def test_replayed_dead_letters_make_it_due_again() -> None:
    """It is looked at again when the commit has passed all that was sent."""
    sent = mending({REQUESTS: {0: 64}})
    runs = seen(manifest(), finished(), sent)

    assert runs.due(at(63), WALL) == ()
    (due,) = runs.due(at(64), WALL)
    assert (due.mend, due.mendings) == (1, 1)

    runs.see(Message("p.runs", 0, 9, None, finished(mend=1, mendings=1).to_json()))
    assert runs.due(at(64), WALL) == ()


def test_who_cannot_be_told_holds_no_replay_back() -> None:
    """What has ended since is seen to first, with its own news; until then it is told again."""
    untold = finished(notified=False)
    runs = seen(manifest(), untold, mending({REQUESTS: {0: 64}}))

    (due,) = runs.due(at(63), WALL)
    assert due.is_untold
    (due,) = runs.due(at(64), WALL)
    assert (due.mend, due.mendings, due.before) == (1, 1, untold)


def test_a_replay_that_was_killed_half_way_counts_in_the_end() -> None:
    """Nobody said where it ended: after a while all that lies there by then is waited for."""
    runs = seen(manifest(), finished(), mending({}))
    late = WALL + SETTLED_SECONDS

    assert runs.due(at(100), late - 1) == ()
    assert runs.due(at(70, end=80), late) == ()
    assert runs.due(at(79, end=200), late + 5) == ()
    assert [due.mend for due in runs.due(at(80, end=200), late + 10)] == [1]


@pytest.mark.parametrize(
    ("age", "count"), [(REMEMBERED_SECONDS - 1, 1), (REMEMBERED_SECONDS + 1, 0)]
)
def test_what_is_older_than_the_ledgers_is_left_alone(age: float, count: int) -> None:
    """What became of it can no longer be told."""
    assert len(seen(manifest()).due(at(50), WALL + age)) == count


def test_newest_that_is_over() -> None:
    """Of a schedule's runs that are over the newest counts, however the records lie."""
    newer = finished().model_copy(update={"run": "daily/2026-11-23T04:00Z#1"})
    runs = seen(newer, finished())

    assert {name: one.run for name, one in runs.finished().items()} == {"daily": newer.run}


def test_what_is_long_over_is_forgotten() -> None:
    """A schedule that is no more does not stand in status for ever, and memory does not grow."""
    runs = seen(manifest(), finished(), mending({REQUESTS: {0: 64}}))
    runs.due(at(50), WALL)
    assert (set(runs.newest()), set(runs.finished()), set(runs.over())) == (
        {"daily"},
        {"daily"},
        {RUN},
    )

    runs.due(at(50), WALL + REMEMBERED_SECONDS + 1)

    assert (runs.newest(), runs.finished(), runs.over()) == ({}, {}, {})
    assert (runs._manifests, runs._mendings, runs._waiting) == ({}, {}, {})
