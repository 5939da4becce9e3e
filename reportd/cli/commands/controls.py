"""``reportctl controls``: what is paused, slowed down or cancelled now."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from reportd.cli.controlling import Desk
from reportd.cli.options import add_config_option
from reportd.cli.run_names import KnownRuns
from reportd.cli.showing import show_controls, show_json
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.model.control import Control, is_past
from reportd.model.run import Finished, RunId

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``controls [--json]``."""
    parser = subparsers.add_parser(
        "controls",
        help="what is paused, slowed down or cancelled now",
        description="List what people have asked for and what is still in force, with who asked; a "
        "cancelled run until it is over.",
        epilog="example: reportctl controls --json",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """List them; raises `BrokerError`."""
    wall = SystemClock().wall()
    with Desk.open(load(args.config)) as desk:
        found = [one for one in desk.asked().values() if one.holds(wall)]
        if any(one.action == "cancel" for one in found):
            known = KnownRuns()
            known.see(desk.reader.read_all(desk.topics.runs))
            over = known.finished()
            found = [one for one in found if not _is_past(one, over)]
    if args.json:
        show_json([one.model_dump() for one in found])
        return 0
    show_controls(one.model_dump() for one in found)
    return 0


def _is_past(control: Control, over: Mapping[RunId, Finished]) -> bool:
    target = control.target
    finished = over.get(RunId.parse(target.value)) if target.kind == "run" else None
    return is_past(control.action, control.at, finished)
