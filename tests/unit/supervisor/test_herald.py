"""What systemd and the board are told, and when."""

import logging
from pathlib import Path

import orjson
import pytest

from reportd.board import Board, Slot
from reportd.clock import SystemClock
from reportd.supervisor.child import ChildContext, ChildSpec
from reportd.supervisor.herald import Herald, State
from reportd.supervisor.plan import Plan
from reportd.supervisor.probe import Report
from reportd.supervisor.reload import Reload
from reportd.supervisor.reload_file import ReloadFile, ReloadRecord
from reportd.supervisor.respawn import RespawnPolicy
from reportd.supervisor.seat import Seat


class Heard:
    """A notifier that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.extended: list[float] = []

    def ready(self, status: str = "") -> None:
        self.lines.append(f"READY {status}")

    def reloading(self) -> None:
        self.lines.append("RELOADING")

    def stopping(self, status: str = "") -> None:
        self.lines.append(f"STOPPING {status}")

    def status(self, text: str) -> None:
        self.lines.append(text)

    def watchdog(self) -> None:
        self.lines.append("WATCHDOG")

    def extend(self, seconds: float) -> None:
        self.extended.append(seconds)


class NoSource:
    """A source that is never asked."""

    def check(self) -> Report:
        raise NotImplementedError

    def plan(self, report: Report) -> Plan:
        raise NotImplementedError


def run(_context: ChildContext) -> int:
    """Never run."""
    raise NotImplementedError


def seat(slot: Slot) -> Seat:
    """Return a seat with nobody on it."""
    spec = ChildSpec(name="worker-0", title="worker 0", slot_index=1, run=run)
    return Seat(spec, slot, RespawnPolicy())


def state(phase: str, board: Board) -> State:
    """Return a state with one seat."""
    return State(
        phase=phase,
        seats=[seat(board.slot(1))],
        reload=Reload(NoSource(), SystemClock()),
        strikes=2,
    )


def test_ready_once_per_start_and_reload() -> None:
    """READY follows the start and each reload; RELOADING and STOPPING come when they begin."""
    board, heard = Board(2), Heard()
    herald = Herald(heard, board.slot(0), lambda: "", 0.0)
    for now, phase in enumerate(
        ["starting", "running", "running", "reloading", "running", "stopping"]
    ):
        herald.tell(state(phase, board), float(now), 1.0)

    first_words = [line.split()[0] for line in heard.lines]
    assert first_words == ["starting:", "READY", "RELOADING", "reloading:", "READY", "STOPPING"]


def test_watchdog_only_when_due() -> None:
    """The watchdog is fed at its interval, and not at all without one."""
    board, heard = Board(2), Heard()
    herald = Herald(heard, board.slot(0), lambda: "", 10.0)
    for now in (0.0, 5.0, 10.0, 11.0, 25.0):
        herald.tell(state("running", board), now, 1.0)

    assert heard.lines.count("WATCHDOG") == 3


def test_systemd_waits_for_what_goes_on() -> None:
    """A long drain or reload is not cut short by the unit's timeouts; running asks for nothing."""
    board, heard = Board(2), Heard()
    herald = Herald(heard, board.slot(0), lambda: "", 0.0)
    told = []
    for now, phase in enumerate(["starting", "starting", "running"] + ["stopping"] * 21):
        herald.tell(state(phase, board), float(now), 1.0)
        told.append(len(heard.extended))

    assert set(heard.extended) == {30.0}
    assert told[:3] == [1, 1, 1]
    # from the first moment of a stop on: the unit's own timeout may be short
    assert told[3:] == [2] * 10 + [3] * 10 + [4]


def test_status_line_has_the_summary_and_the_refusal() -> None:
    """The status line says how the work goes and that a reload was refused."""
    board, heard = Board(2), Heard()
    herald = Herald(heard, board.slot(0), lambda: "7 open", 0.0)
    told = state("running", board)
    told.reload.refused("a: wrong\nb: wrong")
    herald.tell(told, 0.0, 1.0)

    assert heard.lines == [
        "READY running: 0 of 1 processes; configuration on disk refused, the one before runs on: "
        "a: wrong; 7 open"
    ]


def test_snapshot_for_the_observer() -> None:
    """The board's snapshot has the children and the reload."""
    board = Board(2)
    herald = Herald(Heard(), board.slot(0), lambda: "", 0.0)
    told = state("running", board)
    told.reload.refused("a: wrong")
    herald.tell(told, 0.0, 17.0)

    found = orjson.loads(board.slot(0).read())
    assert found["reload"] == {"ok": False, "at": told.reload.at, "problems": ["a: wrong"]}
    assert found["children"][0]["name"] == "worker-0"
    assert found["children"][0]["state"] == "waiting"
    assert found["strikes"] == 2
    assert board.slot(0).last_beat() == 17.0


def test_reloads_are_told_again_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full /run is no reason for every later reload to be waited for in vain."""
    board, folder = Board(2), tmp_path / "run"
    file = ReloadFile(folder, pid=7, pid_started=99)
    herald = Herald(Heard(), board.slot(0), lambda: "", 0.0, file)
    with caplog.at_level(logging.WARNING):
        for now in (0.0, 1.0):
            herald.tell(state("running", board), now, 1.0)
    folder.mkdir()
    herald.tell(state("reloading", board), 2.0, 1.0)

    assert ReloadRecord.read(folder).phase == "reloading"
    assert len(caplog.records) == 1
