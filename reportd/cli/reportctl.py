"""``reportctl``: look at and steer what is there. A thin parser; each command is a module.

A new command is a module of `reportd.cli.commands` with ``add_parser(subparsers)`` and
``run(args)``, named in `COMMANDS`.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from reportd.cli.commands import (
    backfill,
    cancel,
    check,
    controls,
    dead,
    doctor,
    lag,
    leave,
    partner,
    pause,
    reload,
    requests,
    rerun,
    resume,
    runs,
    schedule,
    slow,
    status,
    top,
    topics,
    wait,
)
from reportd.errors import (
    EXIT_CONFIG,
    EXIT_UNAVAILABLE,
    ConfigError,
    ReportdError,
    UnavailableError,
)

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

INTERRUPTED = 130


class Command(Protocol):
    """What a module of `reportd.cli.commands` offers."""

    def add_parser(self, subparsers: "Subparsers") -> argparse.ArgumentParser:
        """Add the command's own parser, and return it."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status; may raise `ReportdError`."""
        ...


COMMANDS: tuple[Command, ...] = (
    check,
    doctor,
    partner,
    topics,
    status,
    top,
    runs,
    wait,
    rerun,
    requests,
    lag,
    dead,
    backfill,
    pause,
    slow,
    resume,
    cancel,
    controls,
    reload,
    leave,
    schedule,
)


def parser(commands: Sequence[Command] = COMMANDS) -> argparse.ArgumentParser:
    """Return the whole command line."""
    root = argparse.ArgumentParser(prog="reportctl", description="Look at and steer reportd.")
    subparsers = root.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        command.add_parser(subparsers).set_defaults(run=command.run)
    return root


def main(argv: Sequence[str] | None = None, commands: Sequence[Command] = COMMANDS) -> int:
    """Run one command; return its exit status: 78 configuration, 75 not there yet, else 1.

    Whoever is tired of waiting presses Ctrl-C: 130, as shells say it.
    """
    args = parser(commands).parse_args(argv)
    try:
        status: int = args.run(args)
    except ConfigError as error:
        return _say(error, EXIT_CONFIG)
    except UnavailableError as error:
        return _say(error, EXIT_UNAVAILABLE)
    except ReportdError as error:
        return _say(error, 1)
    except BrokenPipeError:  # the reader of a pipe (head, less) has seen enough
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _say(error: ReportdError, status: int) -> int:
    print(error, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
