"""``reportctl topics``: make the topics, grow a partner's."""

import argparse
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from reportd.broker.access import rights
from reportd.broker.admin import Admin, TopicChange
from reportd.broker.growth import grow, offset_lag
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics, topic_plans
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.showing import duration, show_json, show_table
from reportd.config.load import Config, load
from reportd.errors import BrokerError, ConfigError, UnavailableError
from reportd.partners.load import load_partners

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

LOOK_SECONDS = 2.0
MOST_REPLICAS = 3
DONE = {"create": "made", "repair": "repaired", "keep": "was there", "differs": "differs"}
WOULD = {"create": "would be made", "repair": "would be repaired"}


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``topics create`` and ``topics grow``."""
    parser = subparsers.add_parser("topics", help="make and grow the topics")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        epilog="example: reportctl topics create --dry-run",
        help="make what is missing, say what differs, print the rights needed",
        description="Make the topics that are not there yet. Starting it again changes nothing; 1 "
        "if a topic differs from what it should be.",
    )
    add_config_option(create)
    create.add_argument(
        "--replication",
        type=int,
        metavar="N",
        help="copies of every record (default: 3, or as many as there are brokers)",
    )
    create.add_argument(
        "--repair", action="store_true", help="set what differs in the topics that are there"
    )
    create.add_argument("--dry-run", action="store_true", help="only say what would be done")
    create.add_argument("--json", action="store_true", help="for programs")
    create.set_defaults(act=_create)
    growing = actions.add_parser(
        "grow",
        epilog="example: reportctl topics grow google_ads --dry-run",
        help="raise the partitions of a partner's topics",
        description="Wait until nothing of the partner is open, then raise its topics' partitions "
        "to what its file says. Enqueue nothing meanwhile; reload the daemons afterwards.",
    )
    add_config_option(growing)
    growing.add_argument("partner", metavar="PARTNER")
    growing.add_argument(
        "--timeout",
        type=float,
        default=float("inf"),
        metavar="SECONDS",
        help="give up waiting (default: never)",
    )
    growing.add_argument("--dry-run", action="store_true", help="only say what would be done")
    growing.set_defaults(act=_grow)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def _create(args: argparse.Namespace) -> int:
    config = load(args.config)
    prefix = config.settings.kafka.prefix
    partners = load_partners(config.settings.partners_folder)
    admin = _admin(config)
    try:  # it may be starting: the client is patient, and then speaks its own language
        brokers = admin.brokers()
    except BrokerError:
        reach(config.settings.kafka)
        raise
    replication = args.replication or min(MOST_REPLICAS, brokers)
    counts = {name: partner.partitions for name, partner in partners.items()}
    plans = topic_plans(prefix, counts, replication)
    changes = admin.create(plans, dry_run=args.dry_run, repair=args.repair)
    copies = admin.copies()
    commands = [right.command(f"User:{right.program}") for right in rights(prefix, prefix)]
    if args.json:
        show_json({"topics": [_json(change, copies) for change in changes], "rights": commands})
    else:
        words = DONE | WOULD if args.dry_run else DONE
        show_table(
            ("topic", "partitions", "copies", "", ""),
            (
                (
                    change.plan.name,
                    change.plan.partitions,
                    copies.get(change.plan.name, change.plan.replication),
                    words[change.kind],
                    "; ".join([*change.differences, *_fewer(change, copies)]),
                )
                for change in changes
            ),
        )
        print("Where the brokers check rights (kafka-acls.sh --add ...; the names are yours):")
        for command in commands:
            print(f"  {command}")
    return 1 if any(change.kind == "differs" for change in changes) else 0


def _grow(args: argparse.Namespace) -> int:
    config = load(args.config)
    partners = load_partners(config.settings.partners_folder)
    partner = partners.get(args.partner)
    if partner is None:
        known = ", ".join(sorted(partners)) or "none"
        raise ConfigError(f"there is no partner {args.partner}; there are: {known}")
    admin = _admin(config)
    topics = Topics(config.settings.kafka.prefix)
    try:
        wanted = grow(admin, topics, partner.name, partner.partitions, dry_run=True)
        if not wanted:
            print(f"nothing to do: {partner.name} has {partner.partitions} partitions")
            return 0
        if not args.dry_run:
            _wait_until_done(admin, topics, partner.name, args.timeout)
            grow(admin, topics, partner.name, partner.partitions)
    except ValueError as error:
        raise ConfigError(f"{partner.name}: {error}") from None
    verb = "would have" if args.dry_run else "now has"
    for name in wanted:
        print(f"{name} {verb} {partner.partitions} partitions")
    if not args.dry_run:
        print("keys have moved: reload every daemon (systemctl reload reportd)")
        print("what was spent of daily quotas is not known at the new places until they reset")
    return 0


def _wait_until_done(admin: Admin, topics: Topics, partner: str, timeout_seconds: float) -> None:
    """Wait until the group has committed all there is; raises `UnavailableError`."""
    started = time.monotonic()
    pause = threading.Event()
    while lag := sum(offset_lag(admin, topics, topics.prefix, [partner]).values()):
        waited = time.monotonic() - started
        if waited >= timeout_seconds:
            raise UnavailableError(f"{partner}: still {lag} open after {duration(waited)}")
        print(f"waiting until nothing is open: {lag:,} left", flush=True)
        pause.wait(min(LOOK_SECONDS, timeout_seconds - waited))


def _admin(config: Config) -> Admin:
    return Admin(client_settings(config.settings.kafka))


def _fewer(change: TopicChange, copies: Mapping[str, int]) -> Iterator[str]:
    """Yield that a topic has fewer copies than it should; others are made by Kafka's own tools."""
    there = copies.get(change.plan.name)
    if there is not None and there < change.plan.replication:
        yield f"copies are {there}, not {change.plan.replication} (kafka-reassign-partitions.sh)"


def _json(change: TopicChange, copies: Mapping[str, int]) -> dict[str, object]:
    return {
        "topic": change.plan.name,
        "partitions": change.plan.partitions,
        "replication": change.plan.replication,
        "copies": copies.get(change.plan.name),
        "config": dict(change.plan.config),
        "change": change.kind,
        "differences": list(change.differences),
    }
