"""``reportctl top``: the status, live, until it is ended."""

import argparse
import http.client
import select
import sys
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from reportd.cli.observing import ask_observer
from reportd.cli.options import add_config_option
from reportd.cli.showing import console, drawn, harmless
from reportd.config.load import load
from reportd.config.settings import MetricsSettings
from reportd.errors import ReportdError
from reportd.observer.screen import screen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reportd.cli.options import Subparsers

EVERY_SECONDS = 2.0


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``top [--every SECONDS]``."""
    parser = subparsers.add_parser(
        "top",
        help="the status, live",
        description="Show what 'reportctl status' shows, again and again, until Enter or Ctrl-C.",
        epilog="example: reportctl top --every 5",
    )
    add_config_option(parser)
    parser.add_argument(
        "--every", type=float, default=EVERY_SECONDS, metavar="SECONDS", help="(%(default)g)"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Show it until it is ended; raises `ReportdError` where nobody can look at it."""
    settings = load(args.config).settings.metrics
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ReportdError("top needs a terminal; reportctl status says it once")
    shown = console()
    try:
        with Live(_seen(settings), console=shown, screen=True, auto_refresh=False) as live:
            while not _entered(max(0.1, args.every)):
                live.update(_seen(settings), refresh=True)
    except KeyboardInterrupt:
        pass  # how one leaves it
    return 0


def _seen(settings: MetricsSettings) -> "RenderableType":
    try:
        return drawn(screen(ask_observer(settings)))
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = harmless(str(error) or type(error).__name__)
        return Text(f"no observer at {settings.listen} ({why}); asking again", style="bold red")


def _entered(seconds: float) -> bool:
    """Wait; return whether Enter was pressed."""
    found, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(found)
