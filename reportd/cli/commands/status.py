"""``reportctl status``: all on one screen; from this VM's observer, or from the broker."""

import argparse
import http.client
import ssl
from typing import TYPE_CHECKING, Any

import orjson

from reportd.broker.admin import Admin
from reportd.broker.growth import offset_lag
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.cli.options import add_config_option
from reportd.cli.showing import harmless, show_json, show_screen, show_table
from reportd.config.load import Config, load
from reportd.config.settings import MetricsSettings
from reportd.observer.screen import screen
from reportd.partners.load import load_partners

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

ASK_SECONDS = 5.0
MOST_BYTES = 64 * 1024 * 1024
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask, not to listen


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``status [--json]``."""
    parser = subparsers.add_parser(
        "status",
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


def ask_observer(metrics: MetricsSettings, path: str = "/status") -> dict[str, Any]:
    """Return one of the observer's documents.

    Raises `OSError` or `http.client.HTTPException` if it is not there, `ValueError` for another
    answer than its document.
    """
    host = EVERYWHERE.get(metrics.host, metrics.host)
    connection = (
        http.client.HTTPConnection(host, metrics.port, timeout=ASK_SECONDS)
        if metrics.tls is None
        else http.client.HTTPSConnection(
            host, metrics.port, timeout=ASK_SECONDS, context=_own_certificate(metrics)
        )
    )
    headers = {}
    if metrics.token is not None:
        headers["Authorization"] = f"Bearer {metrics.token.reveal()}"
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(MOST_BYTES)
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"it answers {answer.status}")
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError("it answers no document")  # noqa: TRY004 - what was said is wrong
    return found


def _own_certificate(metrics: MetricsSettings) -> ssl.SSLContext:
    """Trust the certificate it serves with, whatever name stands in it, and no other."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if metrics.tls is not None:
        context.load_verify_locations(metrics.tls.certificate)
    return context


def _without_observer(config: Config, why: str, *, as_json: bool) -> int:
    topics = Topics(config.settings.kafka.prefix)
    partners = sorted(load_partners(config.settings.partners_folder))
    lags = offset_lag(
        Admin(client_settings(config.settings.kafka)), topics, topics.prefix, partners
    )
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
