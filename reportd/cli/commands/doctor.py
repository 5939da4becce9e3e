"""``reportctl doctor``: tries all that reportd needs, and says what to mend."""

import argparse
from typing import TYPE_CHECKING

from reportd.broker.admin import Admin
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.showing import harmless, show_json, show_table
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.daemon.checkup import Checkup
from reportd.observer.machine import machine_id
from reportd.partners.load import load_partners
from reportd.partners.redaction import redacted_reason
from reportd.transport.assertion import signed
from reportd.transport.client import Client
from reportd.transport.token_files import TokenMemory
from reportd.transport.tokens import Tokens

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

ANSWER_SECONDS = 10.0
MARKS = {"ok": "ok", "warning": "look", "bad": "MEND"}


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``doctor [--try] [--json]``."""
    parser = subparsers.add_parser(
        "doctor",
        help="try all that reportd needs; say what to mend",
        description="Try output, broker, topics and their settings, the daemon's rights, how long "
        "commits are kept, whether anything unread was deleted, the accounts' credentials, clocks "
        "and the VMs' ids. Nothing is changed. 1 if anything is to be mended. Run it as the "
        "daemon's user to know whether that one may write, as root to look at secrets that "
        "systemd hands over.",
        epilog="example: sudo -u reportd reportctl doctor",
    )
    add_config_option(parser)
    parser.add_argument(
        "--try",
        dest="tries",
        action="store_true",
        help="ask partners' token servers for access tokens, too: are credentials still good?",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Try it; raises `ConfigError` for a configuration that is wrong: that comes first."""
    config = load(args.config)
    partners = load_partners(config.settings.partners_folder)
    # what the library says of a broker that is away is said below, in words
    settings = {**client_settings(config.settings.kafka), "log_level": 0}
    topics = Topics(config.settings.kafka.prefix)
    admin = Admin(settings, timeout_seconds=ANSWER_SECONDS)
    reader = PartitionReader(settings, group=topics.prefix, timeout_seconds=ANSWER_SECONDS)
    machine = machine_id(config.settings.workers.machine_id)
    clock = SystemClock()
    tokens = Tokens(
        read=config.secrets.read,
        send=Client(1).send,
        sign=signed,
        files=TokenMemory(),
        clock=clock,
        hide=redacted_reason,
    )
    checkup = Checkup(
        config,
        partners,
        admin,
        reader,
        machine,
        clock.wall,
        tokens=tokens if args.tries else None,
        reached=lambda: reach(config.settings.kafka),
    )
    try:
        found = list(checkup.run())
    finally:
        reader.close()
        admin.close()
    if args.json:
        show_json([one._asdict() for one in found])
    else:
        show_table(("", "of", "found"), ((MARKS[one.level], one.check, one.what) for one in found))
        for one in found:
            if one.mend:
                print(f"{one.check}: {harmless(one.what)}\n  -> {harmless(one.mend)}")
    return 1 if any(one.level == "bad" for one in found) else 0
