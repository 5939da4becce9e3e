"""``reportctl cancel``: end what is open of a run."""

import argparse
from typing import TYPE_CHECKING

from reportd.cli.controlling import Desk, add_control_options, who_asks
from reportd.cli.options import asked_record
from reportd.cli.run_names import KnownRuns, RunName
from reportd.cli.showing import harmless
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.enqueue.runs import RunState
from reportd.errors import ConfigError
from reportd.model.control import RUN, Control
from reportd.model.run import RunId
from reportd.observer.runs import REMEMBERED_SECONDS

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

NEWEST = 5


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``cancel RUN [--reason TEXT] [--who NAME] [--undo]``."""
    parser = subparsers.add_parser(
        "cancel",
        help="end what is open of a run",
        description="Within 2 s every VM ends the run's open requests as cancelled, with a record "
        "in the ledger; calls under way are finished, and what is finished stays. Messages that "
        "nobody has read yet end when they are read, those too that an enqueue under way still "
        "writes. A replay or a revision that is asked for later runs. It is forgotten after "
        f"{REMEMBERED_SECONDS / 86400:.0f} days.",
        epilog="example: reportctl cancel 'daily/2026-11-22T04:00Z' --reason 'wrong accounts'",
    )
    parser.add_argument(
        "name",
        metavar="RUN",
        help="daily/2026-11-22T04:00Z#1; without #1: every revision of that slot that is not over",
    )
    parser.add_argument(
        "--undo", action="store_true", help="let what has not ended yet run after all"
    )
    add_control_options(parser, ends=False)
    return parser


def run(args: argparse.Namespace) -> int:
    """Cancel; raises `ConfigError` for a run that nobody enqueues, `BrokerError`."""
    name = RunName.parse(args.name)
    with Desk.open(load(args.config)) as desk:
        return _undo(name, desk) if args.undo else _cancel(name, desk, args)


def _undo(name: RunName, desk: Desk) -> int:
    asked = desk.asked()
    scopes = [
        scope
        for scope, control in asked.items()
        if control.action == "cancel" and name.fits(RunId.parse(control.target.value))
    ]
    if not scopes:
        raise ConfigError(f"{name} is not cancelled")
    for scope in scopes:
        desk.write(scope, None)
        print(f"{scope.removeprefix(RUN)} goes on, but for what has ended already")
    return 0


def _cancel(name: RunName, desk: Desk, args: argparse.Namespace) -> int:
    known = KnownRuns()
    known.see(desk.reader.read_all(desk.topics.runs))
    states, over = known.states(), known.finished()
    fitting = [state for run, state in states.items() if name.fits(run)]
    if not fitting:
        newest = ", ".join(str(run) for run in list(states)[-NEWEST:]) or "none"
        raise ConfigError(f"there is no run {harmless(str(name))}; the newest are: {newest}")
    if not name.has_revision:
        fitting = [state for state in fitting if state.run not in over]
    if not fitting:
        raise ConfigError(f"{name} is over: nothing of it is open; a replay of it, by its #N")
    wall = SystemClock().wall()
    for state in fitting:
        scope = f"{RUN}{state.run}"
        desk.write(
            scope,
            asked_record(
                Control,
                scope=scope,
                action="cancel",
                until=wall + REMEMBERED_SECONDS,
                at=wall,
                who=who_asks(args),
                reason=args.reason,
            ),
        )
        print(f"{state.run} is cancelled: {_what_ends(state)}")
    _forget(desk, wall)
    return 0


def _forget(desk: Desk, wall: float) -> None:
    """Take cancels out of the topic that have ended by themselves."""
    for scope, control in desk.asked().items():
        if control.action == "cancel" and not control.holds(wall):
            desk.write(scope, None)


def _what_ends(state: RunState) -> str:
    if state.manifest is None:
        return "it is being enqueued, and what is written of it ends as it is read"
    return f"what is open of its {state.manifest.requests:,} requests ends"
