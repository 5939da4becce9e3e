"""Arguments that several programs share. Used by the parsers of `reportd.cli` alone."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

DEFAULT_CONFIG = Path("/etc/reportd/reportd.toml")

if TYPE_CHECKING:  # argparse names this class privately, and it is generic for type checkers only
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--config FILE``; ``args.config`` is a `Path`."""
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="the configuration (default: %(default)s)",
    )
