"""What a child's end says: status and reason, without a fork."""

import os
import signal
from collections.abc import Iterator

import pytest

from reportd.board import Board
from reportd.errors import BrokerError, ConfigError, Halt, OutputError
from reportd.supervisor.child import Stop, guarded
from reportd.supervisor.inbox import LEAVE


def test_status_is_passed_on() -> None:
    """A function's own status is the child's; there is no halt."""
    slot = Board(1).slot(0)

    assert guarded(lambda: 0, slot, "worker-0") == 0
    assert slot.halted() is None


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Halt(78, "instance id is taken"), 78, "instance id is taken"),
        (ConfigError("a: wrong", "b: wrong"), 78, "a: wrong\nb: wrong"),
        (BrokerError("no broker"), 75, "no broker"),
        (OutputError("disk full"), 75, "disk full"),
        (KeyError("x"), 1, "KeyError: 'x'"),
    ],
)
def test_errors_become_statuses(error: BaseException, status: int, reason: str) -> None:
    """78 and 75 for the errors that say so, 1 for a bug; the reason stands on the board."""
    slot = Board(1).slot(0)

    def fail() -> int:
        raise error

    assert guarded(fail, slot, "worker-0") == status
    assert slot.halted() == (status, reason)


@pytest.fixture
def stop() -> Iterator[Stop]:
    """Listen as a child does; afterwards all is as before."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, LEAVE)}
    made = Stop(os.getppid())
    made.listen()
    yield made
    signal.set_wakeup_fd(-1)
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize(("number", "for_good"), [(signal.SIGTERM, False), (LEAVE, True)])
def test_who_is_not_replaced_is_told(stop: Stop, number: signal.Signals, for_good: bool) -> None:
    """Both are the wish to stop; one says that no other child comes."""
    assert not stop.requested()

    signal.raise_signal(number)

    assert stop.requested()
    assert stop.for_good() == for_good
