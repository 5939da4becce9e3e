"""When offsets are committed, and what an answer moves."""

from reportd.worker.actions import Commit, TopicPartition
from reportd.worker.commits import Commits
from reportd.worker.fence import Fence
from reportd.worker.partition import Partition, parse_metadata
from reportd.worker.settings import EngineSettings
from tests.unit.worker.making import BACKFILL, REQUESTS, at, partition

SETTINGS = EngineSettings(store_id="ab12")


def commits(session_seconds: float = 45.0) -> tuple[Commits, Fence]:
    """Return a worker's commits and fence."""
    fence = Fence(session_seconds, 3.0)
    return Commits(SETTINGS, fence), fence


def by_topic(one: Partition) -> dict[TopicPartition, Partition]:
    """Return the engine's index of partitions."""
    return {(topic, one.index): one for topic in one.books}


def accept(of: Commits, one: Partition, commit: Commit) -> None:
    """Let the broker take a commit."""
    of.answered(by_topic(one), [(topic, index, None) for topic, index in commit.offsets])


def finish(one: Partition, offset: int) -> None:
    """Deliver a message and finish it."""
    one.books[REQUESTS].deliver(offset)
    one.books[REQUESTS].close(offset)


def test_the_first_commit_is_of_everything() -> None:
    """Every topic of a new partition is committed at once: that opens the fence."""
    of, _ = commits()

    commit = of.due([partition()], at(0.0))
    assert commit == Commit({(REQUESTS, 0): (0, "1 0 ab12"), (BACKFILL, 0): (0, "1 0 ab12")})


def test_changed_offsets_are_committed_every_second() -> None:
    """What did not change is left out for ten seconds."""
    of, one = commits()[0], partition()
    first = of.due([one], at(0.0))
    assert first is not None
    accept(of, one, first)
    finish(one, 0)

    assert of.due([one], at(0.9)) is None
    assert of.due([one], at(1.0)) == Commit({(REQUESTS, 0): (1, "1 0 ab12")})


def test_quiet_partitions_are_committed_every_ten_seconds() -> None:
    """An unchanged offset is committed too: it must not expire, and it moves the fence."""
    of, one = commits()[0], partition()
    first = of.due([one], at(0.0))
    assert first is not None
    accept(of, one, first)

    assert all(of.due([one], at(float(second))) is None for second in range(1, 10))
    assert of.due([one], at(10.0)) == first


def test_a_short_lease_is_renewed_in_time() -> None:
    """With a lease of 3 s everything is committed every second."""
    of, one = commits(8.0)[0], partition()
    first = of.due([one], at(0.0))
    assert first is not None
    accept(of, one, first)

    assert of.due([one], at(1.0)) == first


def test_one_commit_at_a_time() -> None:
    """The next one waits for the answer, or for its time-out."""
    of, one = commits()[0], partition()
    assert of.due([one], at(0.0)) is not None

    assert of.due([one], at(14.9)) is None
    assert of.due([one], at(15.0)) is not None


def test_an_accepted_commit_moves_the_fence_from_when_it_was_sent() -> None:
    """The answer's time does not count: the broker may have waited with it."""
    (of, fence), one = commits(), partition()
    commit = of.due([one], at(100.0))
    assert commit is not None
    accept(of, one, commit)

    assert fence.closes_at == 140.0


def test_a_refused_commit_moves_nothing_and_is_tried_again() -> None:
    """What was refused for one topic may have gone through for another: all is sent again."""
    (of, fence), one = commits(), partition()
    of.due([one], at(0.0))
    moved = of.answered(by_topic(one), [(REQUESTS, 0, "refused"), (BACKFILL, 0, "refused")])
    assert (moved, fence.closes_at) == ([], float("-inf"))

    again = of.due([one], at(1.0))
    assert again is not None
    assert set(again.offsets) == {(REQUESTS, 0), (BACKFILL, 0)}


def test_the_answer_for_a_lost_partition_is_passed_over() -> None:
    """A partition that went meanwhile is not moved, and its commit opens no fence."""
    (of, fence), one = commits(), partition()
    of.due([one], at(0.0))

    assert of.answered({}, [(REQUESTS, 0, None)]) == []
    assert not fence.is_open(0.0)


def test_partitions_that_are_not_restored_or_lost_are_left_out() -> None:
    """Only what is owned and read now is committed."""
    lost, unread = partition(), partition()
    lost.is_alive = unread.is_active = False

    assert commits()[0].due([lost, unread], at(0.0)) is None


def test_metadata_reads_back() -> None:
    """R and the store's id travel with the commit; what is not ours says nothing."""
    metadata = partition().offsets("ab12")[REQUESTS][1]

    assert parse_metadata(metadata) == (0, "ab12")
    assert {parse_metadata(text) for text in ("", "2 0 x", "1 x y", "hello")} == {(None, "")}
