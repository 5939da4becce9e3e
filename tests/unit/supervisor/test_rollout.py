"""The order of a rolling replacement, without any process."""

from reportd.supervisor.child import ChildContext, ChildSpec
from reportd.supervisor.rollout import Rollout, Turn
from reportd.supervisor.seat import SeatState


def spec(name: str, *, last: bool = False) -> ChildSpec:
    """Return a child that is never run."""

    def run(_context: ChildContext) -> int:
        raise NotImplementedError

    return ChildSpec(name=name, title=name, slot_index=0, run=run, last=last)


OLD = {name: spec(name) for name in ("worker-0", "worker-1")} | {
    "observer": spec("observer", last=True)
}


def play(rollout: Rollout, fails: frozenset[str] = frozenset()) -> list[str]:
    """Act as a supervisor whose children obey at once; return what was done."""
    states = dict.fromkeys(OLD, SeatState.RUNNING)
    done: list[str] = []
    while True:
        turn = rollout.turn(states)
        if turn in {Turn.DONE, Turn.FAILED}:
            return [*done, turn.name.lower()]
        step = rollout.step
        if turn is Turn.STOP:
            done.append(f"stop {step.name}")
            states[step.name] = SeatState.EMPTY
        elif turn is Turn.FILL:
            done.append(f"{'drop' if step.spec is None else 'fill'} {step.name}")
            failed = step.name in fails
            states[step.name] = SeatState.WAITING if failed else SeatState.RUNNING
            rollout.filled()


def test_one_at_a_time_the_last_last() -> None:
    """Each child is stopped and filled before the next; new, surplus and last in this order."""
    wanted = [spec("observer", last=True), spec("worker-0"), spec("worker-2")]

    assert play(Rollout.forward(OLD, wanted)) == [
        "stop worker-0",
        "fill worker-0",
        "fill worker-2",
        "stop worker-1",
        "drop worker-1",
        "stop observer",
        "fill observer",
        "done",
    ]


def test_failure_stops_the_rollout_and_the_way_back_is_short() -> None:
    """Only what was touched goes back, to what it was; what is new is dropped."""
    rollout = Rollout.forward(OLD, [spec("worker-0"), spec("worker-9"), spec("worker-1")])

    assert play(rollout, frozenset({"worker-9"}))[-1] == "failed"
    back = rollout.back()
    assert back.step.spec is OLD["worker-0"]
    assert play(back) == [
        "stop worker-0",
        "fill worker-0",
        "drop worker-9",
        "done",
    ]


def test_waits_while_a_child_drains_or_starts() -> None:
    """Nothing else happens until the child is gone, and then until the new one has beaten."""
    rollout = Rollout.forward(OLD, [spec("worker-0")])

    assert rollout.turn({**states(), "worker-0": SeatState.STOPPING}) is Turn.WAIT
    assert rollout.turn({**states(), "worker-0": SeatState.EMPTY}) is Turn.FILL
    rollout.filled()
    assert rollout.turn({**states(), "worker-0": SeatState.STARTING}) is Turn.WAIT
    assert rollout.tries("worker-0")
    assert rollout.turn(states()) is not Turn.WAIT
    assert not rollout.tries("worker-0")


def states() -> dict[str, SeatState]:
    """Return all running."""
    return dict.fromkeys(OLD, SeatState.RUNNING)
