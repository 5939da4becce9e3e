"""Who may run beside whom."""

from typing import Any

import pytest

from reportd.model.vm import Vm
from reportd.observer.neighbours import LIVE_SECONDS, Neighbours

WALL = 1_700_000_000.0


def vm(machine: str, **fields: Any) -> Vm:
    """Return a VM with an output that all see."""
    given: dict[str, Any] = {
        "incarnation": f"life of {machine}",
        "boot": f"boot of {machine}",
        "namespace": "pid:[1]",
        "store": "s1",
        "shared": True,
        "config": "c1",
        "started_at": WALL,
        "at": WALL,
        "pid": 100,
        "pid_started": 7,
    }
    return Vm(machine=machine, **(given | fields))


ME = vm("me")


def nobody_runs(_pid: int, _started: int) -> bool:
    """Say that no process is there."""
    return False


def everybody_runs(_pid: int, _started: int) -> bool:
    """Say that every process is there."""
    return True


def seen(me: Vm, *records: Vm) -> Neighbours:
    """Return neighbours who have seen the records at second 0, 1, 2 ..."""
    neighbours = Neighbours(me, nobody_runs)
    for now, record in enumerate(records):
        neighbours.see(record, float(now))
    return neighbours


def reasons(neighbours: Neighbours, now: float = 3.0) -> list[str]:
    """Return why this VM is refused."""
    return [refusal.reason for refusal in neighbours.refusals(now, WALL)]


def test_two_vms_of_one_output_are_fine() -> None:
    """Both see the same store and say so: nobody is refused."""
    neighbours = seen(ME, vm("other"), vm("other", at=WALL + 10))

    assert neighbours.doubts(3.0, WALL) == []
    assert reasons(neighbours) == []
    assert [found.machine for found in neighbours.live(3.0, WALL)] == ["other"]


@pytest.mark.parametrize(
    ("me", "other", "words"),
    [
        (vm("me", shared=False), vm("other", shared=False), "second VM on an output that is not"),
        (vm("me", shared=False), vm("other"), "second VM on an output that is not shared"),
        (ME, vm("other", shared=False), "VM other has output.shared = false"),
        (ME, vm("other", store="s2"), "writes to another output (store s2, here s1)"),
        (ME, vm("me", incarnation="x", boot="clone"), "another live VM has the machine id me"),
        (ME, vm("me", incarnation="x", boot="boot of me", namespace="pid:[2]"), "another live VM"),
    ],
)
def test_refused_once_the_other_is_certainly_alive(me: Vm, other: Vm, words: str) -> None:
    """One record is a doubt; one that moves on is a refusal."""
    neighbours = seen(me, other)
    assert neighbours.doubts(1.0, WALL) == [other]
    assert reasons(neighbours) == []

    moved = other.model_copy(update={"at": WALL + 10})
    neighbours.see(moved, 2.0)

    assert neighbours.doubts(3.0, WALL) == []
    assert len(reasons(neighbours)) == 1
    assert words in reasons(neighbours)[0]


def test_history_is_no_sign_of_life() -> None:
    """A VM that lost its power left many records: it waits for another one, and runs."""
    neighbours = Neighbours(ME, nobody_runs)
    for count in range(5):
        neighbours.see(
            vm("me", boot="before", incarnation="before", at=WALL - 50 + 10 * count), 1.0
        )

    assert neighbours.refusals(2.0, WALL) == []
    assert [one.incarnation for one in neighbours.doubts(2.0, WALL)] == ["before"]
    assert neighbours.doubts(1.0 + LIVE_SECONDS, WALL) == []

    neighbours.see(vm("me", boot="before", incarnation="before", at=WALL), 4.0)

    assert len(neighbours.refusals(5.0, WALL)) == 1


def test_own_daemon_of_before_is_no_doubt() -> None:
    """After kill -9 the record of the dead daemon on this machine holds nobody up."""
    before = vm("me", incarnation="before")

    assert seen(ME, before).doubts(1.0, WALL) == []


def test_second_daemon_on_one_machine() -> None:
    """Another reportd that runs here with this machine's id is refused at once."""
    neighbours = Neighbours(ME, everybody_runs)
    neighbours.see(vm("me", incarnation="other"), 0.0)

    assert "already runs here with machine id me (pid 100)" in reasons(neighbours)[0]


def test_stopped_and_silent_vms_are_gone() -> None:
    """A VM that said goodbye, or has been silent for long, forbids nothing."""
    other = vm("other", shared=False)
    gone = seen(ME, other, other.model_copy(update={"at": WALL + 1, "gone": True}))
    assert (gone.live(3.0, WALL), reasons(gone)) == ([], [])

    silent = seen(ME, other, other.model_copy(update={"at": WALL + 10}))
    assert silent.live(1.0 + LIVE_SECONDS, WALL) == []
    assert reasons(silent, 1.0 + LIVE_SECONDS) == []


def test_old_record_is_no_doubt() -> None:
    """The record of a VM that died yesterday holds nobody up."""
    assert seen(ME, vm("other", shared=False, at=WALL - 86400)).doubts(1.0, WALL) == []


def test_own_records_are_passed_over() -> None:
    """This daemon's own record is no neighbour."""
    assert seen(ME, ME, ME.model_copy(update={"at": WALL + 10})).live(3.0, WALL) == []


def test_restarted_neighbour_is_one_vm() -> None:
    """A VM that was killed and came back is not counted twice."""
    first = vm("other")
    neighbours = seen(ME, first, first.model_copy(update={"at": WALL + 10}))
    neighbours.see(vm("other", incarnation="second life", at=WALL + 20), 2.0)

    assert [found.incarnation for found in neighbours.live(3.0, WALL)] == ["second life"]


def test_the_later_one_yields() -> None:
    """Of two that start at once exactly one goes."""
    early, late = vm("me", started_at=WALL), vm("other", started_at=WALL + 1)

    assert not Neighbours(early, nobody_runs).yields(late)
    assert Neighbours(late, nobody_runs).yields(early)


def test_configurations_are_compared() -> None:
    """A living VM with another configuration is told."""
    assert seen(ME, vm("other")).agree(1.0, WALL)
    assert not seen(ME, vm("other", config="c2")).agree(1.0, WALL)


def test_of_two_that_start_at_once_the_topics_order_chooses_one() -> None:
    """Both say that they start before they look: one is refused, whatever their clocks say."""
    first = vm("me", incarnation="first", starting=True, started_at=WALL + 50)
    second = vm("me", incarnation="second", starting=True, boot="clone")
    runs = first.model_copy(update={"at": WALL + 2, "starting": False})
    topic = (first, second, runs)

    assert reasons(seen(first, *topic)) == []
    assert seen(first, *topic).doubts(3.0, WALL) == []
    assert seen(second, first, second).doubts(3.0, WALL) == [first]
    assert len(reasons(seen(second, *topic))) == 1


def test_later_one_that_runs_all_the_same_is_a_rival() -> None:
    """Giving way is what a starting VM does; one that runs nevertheless is said to be there."""
    later = vm("me", incarnation="later", starting=True, boot="clone")
    runs = later.model_copy(update={"at": WALL + 2, "starting": False})

    assert len(reasons(seen(ME, ME, later, runs))) == 1


def test_starting_vm_is_not_counted() -> None:
    """It may be refused in a moment, and has no configuration yet that could differ."""
    found = seen(ME, vm("other", starting=True, config=""))

    assert found.live(1.0, WALL) == []
    assert found.agree(1.0, WALL)
