"""How many workers, and whether a neighbour forbids to run: without a broker."""

from pathlib import Path

import pytest

from reportd.broker.message import Message
from reportd.config.load import load
from reportd.config.settings import WorkerSettings
from reportd.daemon.preflight import meet_neighbours, preflight, worker_count
from reportd.errors import ConfigError
from reportd.model.vm import Vm
from reportd.observer.neighbours import LIVE_SECONDS, Neighbours

WALL = 1_700_000_000.0
ME = Vm(machine="me", incarnation="i", boot="b", namespace="n", started_at=WALL)


@pytest.mark.parametrize(
    ("settings", "partitions", "workers"),
    [
        ({}, 4, 4),
        ({}, 0, 1),
        ({}, 100, 16),
        ({"vms": 3}, 4, 2),
        ({"vms": 8}, 4, 1),
        ({"vms": 2, "max_processes": 3}, 100, 3),
        ({"processes": 6}, 4, 6),
        ({"processes": 20}, 4, 20),
    ],
)
def test_worker_count(settings: dict[str, int], partitions: int, workers: int) -> None:
    """This VM's part of the partitions, rounded up, bounded, at least one."""
    assert worker_count(WorkerSettings.model_validate(settings), partitions) == workers


class Hands:
    """A clock that jumps a heartbeat at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return WALL + self.now

    def monotonic(self) -> float:
        self.now += 10.0
        return self.now

    def boottime(self) -> float:
        return self.now


class Records:
    """A mailbox with the given records, one batch a look."""

    def __init__(self, *batches: list[Vm]) -> None:
        self.batches = list(batches)
        self.looks = 0

    def new(self) -> list[Message]:
        self.looks += 1
        found = self.batches.pop(0) if self.batches else []
        return [Message("p.vms", 0, 0, None, vm.to_json()) for vm in found]


def meet(records: Records) -> list[float]:
    """Meet the neighbours; return the pauses taken."""
    pauses: list[float] = []
    neighbours = Neighbours(ME, lambda _pid, _started: False)
    meet_neighbours(records, neighbours, Hands(), pauses.append)
    return pauses


def other(at: float) -> Vm:
    """Return a VM on an output that is not shared."""
    return Vm(machine="other", incarnation="o", at=WALL + at, started_at=WALL - 100)


def test_alone() -> None:
    """Nobody there: no wait."""
    assert meet(Records([])) == []


def test_dead_daemon_of_this_machine() -> None:
    """After kill -9 the own record of before costs no wait: the first call goes out at once."""
    before = ME.model_copy(update={"incarnation": "before", "at": WALL + 5, "pid": 9})

    assert meet(Records([before])) == []


def test_living_neighbour_refuses() -> None:
    """A record that moves on is a living VM: refused, with its name."""
    with pytest.raises(ConfigError, match="VM other is alive"):
        meet(Records([other(5)], [], [other(15)]))


def test_dead_neighbour_is_waited_for_and_passed() -> None:
    """A VM that was replaced holds its successor up for a bounded time, and no longer."""
    pauses = meet(Records([other(5)]))

    assert 0 < len(pauses) <= LIVE_SECONDS / 10.0


def test_neighbour_that_says_goodbye() -> None:
    """A VM that stops while it is watched lets this one go on at once."""
    gone = other(6).model_copy(update={"gone": True})

    assert len(meet(Records([other(5)], [gone]))) == 1


def test_certificate_is_looked_at_before_anything_is_replaced(tmp_path: Path) -> None:
    """One that cannot be served with refuses a reload, not only the observer that it would end."""
    file = tmp_path / "reportd.toml"
    file.write_text(
        'kafka = { servers = "k1:9092" }\noutput = { root = "out" }\n'
        'metrics = { tls = { certificate = "m.crt", key = "m.key" } }\n'
    )

    with pytest.raises(ConfigError, match=r"metrics\.tls: .*m\.crt"):
        preflight(load(file, {}), ["acme"], ME, Hands())
