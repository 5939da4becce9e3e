"""Arguments that several programs share. Used by the parsers of `reportd.cli` alone."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import ValidationError

from reportd.errors import ConfigError
from reportd.model.base import Record, problems_of

R = TypeVar("R", bound=Record)

DEFAULT_CONFIG = Path("/etc/reportd/reportd.toml")

if TYPE_CHECKING:  # argparse names this class privately, and it is generic for type checkers only
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def asked_record(kind: type[R], **fields: Any) -> R:
    """Return a record of what was typed; raises `ConfigError` for what none may hold."""
    try:
        return kind(**fields)
    except ValidationError as error:
        raise ConfigError(problems_of(error)) from None


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--config FILE``; ``args.config`` is a `Path`."""
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="the configuration (default: %(default)s)",
    )
