"""How long a worker may believe that its partitions are its own."""

import pytest

from reportd.worker.fence import Fence


def test_the_fence_begins_closed() -> None:
    """Before a commit was accepted nothing is called and nothing published."""
    assert not Fence(45.0, 3.0).is_open(0.0)


def test_it_is_open_for_the_session_less_heartbeat_and_two_seconds() -> None:
    """It closes session timeout - heartbeat - 2 s after the last accepted commit was sent."""
    fence = Fence(45.0, 3.0)
    fence.commit_accepted(100.0)

    assert fence.is_open(139.9)
    assert not fence.is_open(140.0)


def test_a_late_answer_to_an_early_commit_does_not_move_it_back() -> None:
    """Answers may come in any order; what counts is when the latest commit was sent."""
    fence = Fence(45.0, 3.0)
    fence.commit_accepted(100.0)
    fence.commit_accepted(90.0)

    assert fence.closes_at == 140.0


def test_the_age_of_the_last_accepted_commit_is_told() -> None:
    """Counted from its sending, whether the membership is lost or not; none yet: none."""
    fence = Fence(45.0, 3.0)
    before = fence.commit_age_seconds(100.0)
    fence.commit_accepted(100.0)
    fence.commit_accepted(90.0)
    fence.close()

    assert (before, fence.commit_age_seconds(104.0)) == (None, 4.0)


def test_losing_the_membership_closes_it_at_once() -> None:
    """Partitions that are lost are somebody else's now."""
    fence = Fence(45.0, 3.0)
    fence.commit_accepted(100.0)
    fence.close()

    assert not fence.is_open(100.0)


@pytest.mark.parametrize("heartbeat", [4.0, 10.0])
def test_a_session_too_short_for_it_is_refused(heartbeat: float) -> None:
    """A fence that never opens would be a worker that never works."""
    with pytest.raises(ValueError, match="session timeout"):
        Fence(6.0, heartbeat)
