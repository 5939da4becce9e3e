"""``reportctl pause``: have no more calls started for a partner, account, report or class."""

import argparse
from typing import TYPE_CHECKING

from reportd.cli.controlling import (
    SCOPE_HELP,
    Desk,
    add_control_options,
    end_of,
    known_target,
    who_asks,
)
from reportd.cli.showing import harmless, instant
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.model.control import Control

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``pause SCOPE [--until TIME | --for DURATION] [--reason TEXT] [--who NAME]``."""
    parser = subparsers.add_parser(
        "pause",
        help="start no more calls for a partner, account, report or class",
        description="Within 2 s no VM starts a call for the scope any more; what is under way is "
        "finished, nothing fails, everything else goes on. Its requests are shown as paused until "
        "'reportctl resume', or until the time given. A pause takes the place of a slow down.",
        epilog="example: reportctl pause google_ads/1234567890 --for 2h --reason 'moves to a new"
        " login'",
    )
    parser.add_argument("scope", metavar="SCOPE", help=SCOPE_HELP)
    add_control_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Pause; raises `ConfigError` for a scope that nobody has, `BrokerError`."""
    config = load(args.config)
    clock = SystemClock()
    known_target(args.scope, config)
    control = Control(
        scope=args.scope,
        action="pause",
        until=end_of(args, clock),
        at=clock.wall(),
        who=who_asks(args),
        reason=args.reason,
    )
    with Desk.open(config) as desk:
        desk.write(args.scope, control)
    until = f"until {instant(control.until)}" if control.until else "until 'reportctl resume'"
    print(f"{harmless(args.scope)} is paused {until}")
    return 0
