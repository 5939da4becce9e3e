"""``reportctl status``: all on one screen; from this VM's observer, or from the broker."""

import argparse
import http.client
from typing import TYPE_CHECKING

from reportd.broker.admin import Admin
from reportd.broker.growth import offset_lag
from reportd.broker.topics import Topics
from reportd.cli.observing import ask_observer
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.showing import harmless, show_json, show_screen, show_table
from reportd.config.load import Config, load
from reportd.observer.screen import screen
from reportd.partners.load import load_partners

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``status [--json]``."""
    parser = subparsers.add_parser(
        "status",
        epilog="example: reportctl status",
        help="runs, partners, limits, workers, what needs a person",
        description="Ask this VM's observer what is open and how it goes; if there is none, ask "
        "the broker how far the group is. 1 if this VM is not ready.",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show it; raises `UnavailableError` if neither observer nor broker answers."""
    config = load(args.config)
    try:
        found = ask_observer(config.settings.metrics)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _without_observer(config, str(error) or type(error).__name__, as_json=args.json)
    if args.json:
        show_json(found)
    else:
        show_screen(screen(found))
    return 0 if found.get("ready") else 1


def _without_observer(config: Config, why: str, *, as_json: bool) -> int:
    topics = Topics(config.settings.kafka.prefix)
    partners = sorted(load_partners(config.settings.partners_folder))
    lags = offset_lag(Admin(reach(config.settings.kafka)), topics, topics.prefix, partners)
    by_partner = dict.fromkeys(partners, 0)
    for (topic, _), lag in lags.items():
        parsed = topics.parse(topic)
        if parsed is not None:
            by_partner[parsed[1]] += lag
    if as_json:
        show_json({"observer": None, "partners": {p: {"lag": n} for p, n in by_partner.items()}})
    else:
        listen = config.settings.metrics.listen
        print(f"no observer at {listen} ({harmless(why)}): only what the broker knows")
        show_table(("partner", "offset lag"), by_partner.items())
    return 1
