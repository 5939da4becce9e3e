"""A seat's lives, without any process."""

import os

import pytest

from reportd.board import Board
from reportd.supervisor.child import ChildContext, ChildSpec
from reportd.supervisor.inbox import LEAVE
from reportd.supervisor.respawn import RespawnPolicy
from reportd.supervisor.seat import ABORT_SECONDS, Seat, SeatState


def run(_context: ChildContext) -> int:
    """Never run."""
    raise NotImplementedError


@pytest.fixture
def seat() -> Seat:
    """Return a seat whose child was started at second 100 (a pid that no kill reaches)."""
    spec = ChildSpec(name="worker-0", title="worker 0", slot_index=0, run=run)
    made = Seat(spec, Board(1).slot(0), RespawnPolicy())
    made.started(pid=2**22 + 1, now=100.0, boottime=1100.0, wall=0.0)
    return made


def test_first_beat_ends_the_start(seat: Seat) -> None:
    """A child is starting until it has beaten."""
    states = []
    for beat in (None, 1101.0):
        if beat is not None:
            seat.slot.beat(beat)
        seat.look()
        states.append(seat.state)

    assert states == [SeatState.STARTING, SeatState.RUNNING]


def test_nothing_is_left_to_the_next_life(seat: Seat) -> None:
    """Beat, ids, snapshot and reason of a dead child are not taken for its successor's."""
    seat.slot.beat(1101.0)
    seat.slot.take("a")
    seat.slot.publish(b"old")
    seat.slot.halt(75, "old")
    seat.died(150.0, "killed by SIGKILL")
    seat.started(pid=2**22 + 2, now=150.0, boottime=1150.0, wall=0.0)
    seat.look()

    assert seat.state is SeatState.STARTING
    assert seat.slot.in_hand() == set()
    assert seat.slot.read() == b""
    assert seat.slot.halted() is None


def test_silence_is_counted_from_what_could_be_heard(seat: Seat) -> None:
    """From the start, the last beat, or the waking of the supervisor, whichever is latest."""
    assert seat.silent_seconds(1110.0, awake_since=0.0) == 10.0
    seat.slot.beat(1108.0)
    assert seat.silent_seconds(1110.0, awake_since=0.0) == 2.0
    assert seat.silent_seconds(5000.0, awake_since=4999.0) == 1.0


def test_unasked_death_is_due_again_asked_is_not(seat: Seat) -> None:
    """A child that dies is due at once; one that was asked to stop is not wanted."""
    seat.died(110.0, "exit status 1")
    assert (seat.state, seat.due_at, seat.restarts) == (SeatState.WAITING, 110.0, 1)

    seat.ask_to_stop(deadline=200.0)
    states = [seat.state]
    seat.fill(seat.spec)
    states.append(seat.state)

    assert states == [SeatState.EMPTY, SeatState.WAITING]


def test_overdue_only_after_its_time(seat: Seat) -> None:
    """A running child is never overdue; an aborted one after its time to write traces."""
    assert not seat.overdue(1e9)
    with pytest.raises(ProcessLookupError):
        seat.abort(120.0)

    assert not seat.overdue(120.0 + ABORT_SECONDS - 0.1)
    assert seat.overdue(120.0 + ABORT_SECONDS)
    assert not seat.given_up_on


def test_renewed_child_comes_back(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves for good and another takes its place, unless a stop was asked meanwhile."""
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: sent.append(number))
    seat.slot.beat(1101.0)
    seat.look()

    assert [seat.is_of_before(at) for at in (1100.0, 1100.1)] == [False, True]
    seat.renew(200.0)
    assert not seat.is_of_before(1e9)
    seat.died(150.0, "exit status 0")
    assert (seat.state, seat.restarts) == (SeatState.WAITING, 0)

    seat.started(pid=2**22 + 2, now=150.0, boottime=1150.0, wall=0.0)
    seat.renew(200.0)
    seat.ask_to_stop(210.0)
    seat.died(160.0, "exit status 0")
    assert seat.state is SeatState.EMPTY
    assert sent == [LEAVE, LEAVE]
