"""A daemon with the real supervisor and small fake children, for test_supervisor.py.

``small_daemon.py FOLDER`` reads ``FOLDER/plan.json``; each child writes ``FOLDER/<name>.lives`` (a
line a life) and behaves as its entry says.
"""

import ctypes
import json
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reportd import log, notify
from reportd.board import Board
from reportd.clock import SystemClock
from reportd.errors import ConfigError, Halt, UnavailableError
from reportd.metrics import Metrics
from reportd.observer.machine import started_ticks
from reportd.supervisor.child import ChildContext, ChildSpec
from reportd.supervisor.herald import Herald
from reportd.supervisor.loop import Supervisor
from reportd.supervisor.plan import Plan
from reportd.supervisor.probe import Report
from reportd.supervisor.reload_file import ReloadFile
from reportd.supervisor.respawn import RespawnPolicy

CLOCK = SystemClock()


def serve(context: ChildContext, drain_seconds: float = 0.0) -> int:
    """Beat until a stop is asked, then drain."""
    while not context.stop.requested():
        context.slot.beat(CLOCK.boottime())
        select.select([context.stop], [], [], 0.1)
    drained_at = CLOCK.monotonic() + drain_seconds
    while CLOCK.monotonic() < drained_at:
        context.slot.beat(CLOCK.boottime())
        select.select([], [], [], 0.02)
    return 0


def child(folder: Path, entry: dict[str, Any]) -> Callable[[ChildContext], int]:
    """Return what one fake child does."""

    def run(context: ChildContext) -> int:
        for request in entry.get("in_hand", []):  # before anybody knows of this life and ends it
            context.slot.take(request)
        with (folder / f"{context.name}.lives").open("a") as lives:
            life = {"pid": os.getpid(), "strikes": dict(context.strikes), "tag": entry.get("tag")}
            lives.write(json.dumps(life) + "\n")
        book = Metrics.of_process(folder / "metrics", context.name)
        book.rows.inc("acme")
        return behave(context, entry)

    return run


def behave(context: ChildContext, entry: dict[str, Any]) -> int:
    """Do what the entry says."""
    match entry.get("does", "serve"):
        case "serve":
            return serve(context, entry.get("drain_seconds", 0.0))
        case "wedge":  # stuck in C code with the interpreter's lock held
            context.slot.beat(CLOCK.boottime())
            ctypes.PyDLL(None).sleep(600)
            return 0
        case "never beat":
            select.select([context.stop], [], [], None)
            return 0
        case "refuse":
            raise Halt(78, "this VM must not run: instance id is taken by vm-2")
        case "unavailable":
            raise UnavailableError("broker is away")
        case "crash":
            raise RuntimeError("a bug")
        case "ignore stop":
            while True:
                context.slot.beat(CLOCK.boottime())
                select.select([], [], [], 0.05)
        case other:
            raise ValueError(other)


class FolderSource:
    """The plan as plan.json has it."""

    def __init__(self, folder: Path) -> None:
        """Read from ``folder``."""
        self._folder = folder

    def check(self) -> Report:
        """Refuse what plan.json says is wrong."""
        plan = self._read()
        if plan.get("problems"):
            raise ConfigError(*plan["problems"])
        if plan.get("away"):
            raise UnavailableError(plan["away"])
        if plan.get("hang"):
            select.select([], [], [], 600)
        return {"checked_by": os.getpid()}

    def plan(self, report: Report) -> Plan:
        """Make the children."""
        if report["checked_by"] == os.getpid():
            raise RuntimeError("the check must run in a process of its own")
        plan = self._read()
        return Plan(
            children=[
                ChildSpec(
                    name=entry["name"],
                    title=entry["name"].replace("-", " "),
                    slot_index=index + 1,
                    run=child(self._folder, entry),
                    last=entry.get("last", False),
                )
                for index, entry in enumerate(plan["children"])
            ],
            drain_seconds=plan.get("drain_seconds", 5.0),
            heartbeat_limit_seconds=plan.get("heartbeat_limit_seconds", 30.0),
            accepted=lambda: self._note(plan),
        )

    def _note(self, plan: dict[str, Any]) -> None:
        with (self._folder / "accepted").open("a") as accepted:
            accepted.write(f"{[entry.get('tag') for entry in plan['children']]}\n")

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "plan.json").read_text())
        return found


def main() -> int:
    """Run the daemon on the folder given."""
    folder = Path(sys.argv[1])
    (folder / "metrics").mkdir(exist_ok=True)
    log.setup()
    board = Board(8)
    reload_file = ReloadFile(folder, os.getpid(), started_ticks(os.getpid()))
    herald = Herald(
        notify.Notifier(), board.slot(0), lambda: "12 open", notify.watchdog_seconds(), reload_file
    )
    policy = RespawnPolicy(base_seconds=0.5)
    return Supervisor(FolderSource(folder), board, herald, CLOCK, policy).run()


if __name__ == "__main__":
    sys.exit(main())
