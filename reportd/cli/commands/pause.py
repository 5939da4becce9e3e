"""``reportctl pause``: have no more calls started for a partner, account, report or class."""

import argparse
from typing import TYPE_CHECKING

from reportd.cli.controlling import SCOPE_HELP, add_control_options, asked_for, known_target
from reportd.cli.showing import harmless
from reportd.config.load import load

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
    known_target(args.scope, config)
    until = asked_for(args, config, "pause")
    print(f"{harmless(args.scope)} is paused {until}")
    return 0
