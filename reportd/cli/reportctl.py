"""``reportctl``: look at and steer what is there. A thin parser; each command is a module.

A new command is a module of `reportd.cli.commands` with ``add_parser(subparsers)`` and
``run(args)``, named in `COMMANDS`. Only the one that is asked for is imported: all of them take a
second, most of it for what formats and partners need.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from reportd import __version__
from reportd.cli.parsers import children
from reportd.errors import (
    EXIT_CONFIG,
    EXIT_PARTIAL,
    EXIT_TIMEOUT,
    EXIT_UNAVAILABLE,
    ConfigError,
    ReportdError,
    UnavailableError,
)

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

INTERRUPTED = 130

WALKS_ALL = "completion"
"""The command that needs all the others' parsers."""

STATUSES: tuple[tuple[int, str], ...] = (
    (0, "done; of a question: all is well, or there is something to show"),
    (
        1,
        "done, and something is not as it should be (its help says what); or an error that says so",
    ),
    (2, "the command line is wrong"),
    (EXIT_PARTIAL, "wait: the run is over, and something is missing"),
    (EXIT_TIMEOUT, "wait: the run is not over in time, or not even enqueued"),
    (EXIT_UNAVAILABLE, "something outside is not there (broker, output, daemon): try again later"),
    (EXIT_CONFIG, "the configuration is wrong, or names what is not there: trying again is no use"),
    (INTERRUPTED, "interrupted by Ctrl-C"),
)
"""Every exit status and what it means; docs/reportctl.rst and ``--help`` have them from here."""


class Command(Protocol):
    """What a module of `reportd.cli.commands` offers."""

    def add_parser(self, subparsers: "Subparsers") -> argparse.ArgumentParser:
        """Add the command's own parser, and return it."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status; may raise `ReportdError`."""
        ...


COMMANDS = (
    "check",
    "doctor",
    "partner",
    "topics",
    "status",
    "top",
    "runs",
    "wait",
    "rerun",
    "requests",
    "lag",
    "limits",
    "plan",
    "dead",
    "backfill",
    "pause",
    "slow",
    "resume",
    "cancel",
    "controls",
    "reload",
    "leave",
    "schedule",
    "completion",
)


class _Parser(argparse.ArgumentParser):
    """Says what there is when something is missing, and where to read on."""

    def error(self, message: str) -> NoReturn:
        known = ", ".join(children(self))
        one_of = f" (one of {known})" if known and "required" in message else ""
        super().error(f"{message}{one_of}; see '{self.prog} --help'")


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the command line, by default the whole of it."""
    root: argparse.ArgumentParser = _Parser(
        prog="reportctl",
        description="Look at and steer reportd.",
        epilog="exit status: "
        + "; ".join(f"{status} {meaning.replace(';', ',')}" for status, meaning in STATUSES),
    )
    root.add_argument("--version", action="version", version=f"reportd {__version__}")
    root.set_defaults(root=root)
    subparsers = root.add_subparsers(metavar="COMMAND", required=True)
    for name in names:
        command = _command(name)
        command.add_parser(subparsers).set_defaults(run=command.run)
    return root


def _command(name: str) -> Command:
    found: Any = importlib.import_module(f"reportd.cli.commands.{name}")
    return cast("Command", found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 78 configuration, 75 not there yet, else 1.

    Whoever is tired of waiting presses Ctrl-C: 130, as shells say it.
    """
    words = sys.argv[1:] if argv is None else argv
    is_plain = bool(words) and words[0] in COMMANDS and words[0] != WALKS_ALL
    known = parser(words[:1] if is_plain else COMMANDS)
    for word in words:
        if not word.isascii() and word != word.encode(errors="replace").decode():
            known.error(f"{word!a} is no UTF-8")
    args = known.parse_args(words)
    return guarded(lambda: args.run(args))


def guarded(act: Callable[[], int]) -> int:
    """Do it and return its status; an error is said in a line and has a status of its own."""
    try:
        return act()
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


def _say(error: ReportdError, status: int) -> int:
    print(error, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
