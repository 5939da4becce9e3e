"""``reportctl slow``: let a partner, account, report or class use a part of its limits only."""

import argparse
import re
from typing import TYPE_CHECKING

from reportd.cli.controlling import SCOPE_HELP, add_control_options, asked_for, known_target
from reportd.cli.showing import harmless
from reportd.config.load import load
from reportd.errors import ConfigError
from reportd.partners.load import load_partners

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``slow SCOPE --to RATE [--until TIME | --for DURATION] [--reason TEXT]``."""
    parser = subparsers.add_parser(
        "slow",
        help="let a partner, account, report or class use a part of its limits",
        description="Within 2 s the scope's calls start at the given part of the rate that the "
        "partner's limits allow: of each kind of limit the shortest is lowered. It ends with "
        "'reportctl resume', or at the time given, and takes the place of a pause.",
        epilog="example: reportctl slow meta --to 50% --until 2026-11-28T06:00",
    )
    parser.add_argument("scope", metavar="SCOPE", help=SCOPE_HELP)
    parser.add_argument(
        "--to", required=True, metavar="RATE", help="a part of the limits: 50%% or 0.5"
    )
    add_control_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Slow down; raises `ConfigError` for what cannot be slowed down, `BrokerError`."""
    config = load(args.config)
    target = known_target(args.scope, config)
    rate = rate_of(args.to)
    partners = load_partners(config.settings.partners_folder)
    if target.partner and not partners[target.partner].spec.limits:
        raise ConfigError(
            f"{target.partner} has no limit that could be lowered: give its file one, or pause it"
        )
    until = asked_for(args, config, "slow", rate)
    print(f"{harmless(args.scope)} is slowed down to {rate:.0%} {until}")
    return 0


def rate_of(text: str) -> float:
    """Return a rate as a part of the whole; raises `ConfigError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text)
    rate = float(found[1]) / (100.0 if found[2] else 1.0) if found is not None else 0.0
    if not 0.0 < rate <= 1.0:
        raise ConfigError(f"--to {text}: write a part of the limits, 50% or 0.5; to stop: pause")
    return rate
