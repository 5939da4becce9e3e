"""When a VM may be taken out of the group, and which members are its own."""

import pytest

from reportd.daemon.departure import members_of, objection
from reportd.model.vm import Vm

ME = Vm(machine="vm-1", incarnation="tool", boot="b", namespace="n", pid=1, pid_started=1)


def life(incarnation: str, at: float, **more: object) -> Vm:
    """Return a record of a daemon on another machine."""
    given = {"machine": "vm-1", "boot": "other", "namespace": "n", "pid": 7, "pid_started": 70}
    return Vm.model_validate({**given, "incarnation": incarnation, "at": at, **more})


def said(*records: Vm, running: bool = False) -> str:
    """Return the objection."""
    return objection(ME, records, lambda _pid, _started: running)


def test_goodbye_is_enough() -> None:
    """Who said that it stopped has; records of the life before it do not matter."""
    assert said(life("a", 1), life("b", 2), life("b", 3, gone=True)) == ""


@pytest.mark.parametrize(("running", "words"), [(True, "still runs here (pid 7)"), (False, "")])
def test_process_of_this_machine_is_looked_for(running: bool, words: str) -> None:
    """Killed without a word: here it is certain; one that runs is not touched."""
    found = said(life("a", 1, boot="b"), running=running)

    assert words in found
    assert bool(words) == bool(found)


def test_silent_one_elsewhere_may_only_sleep() -> None:
    """A VM that cannot be looked at and said no goodbye is in doubt, after a restart too."""
    assert "may only sleep" in said(life("a", 1))
    assert "may only sleep" in said(life("a", 1, gone=True), life("b", 2))
    assert "never told of itself" in said()


def test_members_are_the_machines_own() -> None:
    """Not those of a machine whose id begins alike, or has signs that mean something elsewhere."""
    names = ["vm-1", "vm-1-0", "vm-1-12", "vm-10-0", "vm-1-0-0", "my-vm-1-0", "vm-1-x"]

    assert members_of("vm-1", names) == ("vm-1-0", "vm-1-12")
    assert members_of("vm.1", names) == ()
