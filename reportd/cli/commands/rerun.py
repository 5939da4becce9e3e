"""``reportctl rerun``: ask once more for all that a run asked for. Needs no Spark."""

import argparse
import threading
from typing import TYPE_CHECKING

from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.run_names import RunName
from reportd.cli.showing import show_json, watched
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.enqueue.claims import Claims
from reportd.enqueue.holder import is_gone, machine_name, process_name
from reportd.enqueue.rerun import Rerunner, planned
from reportd.enqueue.runs import Holder
from reportd.enqueue.runs_topic import BrokerCluster
from reportd.errors import ConfigError
from reportd.partners.load import has_file

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``rerun RUN [--dry-run] [--json]``."""
    parser = subparsers.add_parser(
        "rerun",
        help="ask once more for all that a run asked for",
        description="Write the requests of a run again, as the next revision of its slot: the same "
        "accounts, reports and days. What comes replaces the files that are there. For what died "
        "alone, use 'dead replay'; for accounts that have come since, 'reportd-enqueue --add'. One "
        "that was interrupted goes on when it is started again.",
        epilog="example: reportctl rerun daily/2026-11-22T04:00Z --dry-run",
    )
    add_config_option(parser)
    parser.add_argument(
        "name",
        metavar="RUN",
        help="daily/2026-11-22T04:00Z#1; without #1: the newest revision of that slot",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do it; raises `ConfigError` if it cannot be done, and `BrokerError`."""
    name = RunName.parse(args.name)
    config = load(args.config)
    kafka = config.settings.kafka
    settings, topics, clock = reach(kafka), Topics(kafka.prefix), SystemClock()
    with BrokerCluster(settings, topics, kafka.prefix) as cluster:
        rerun = planned(cluster.states(), name.first if name.has_revision else None, name.first)
        for topic in rerun.source.topics:
            parsed = topics.parse(topic.topic)
            partner = parsed[1] if parsed is not None else topic.topic
            if not has_file(config.settings.partners_folder, partner):
                raise ConfigError(f"{rerun.source.run} asks {partner}, which has no file any more")
        if args.dry_run:
            _say(str(rerun.target), rerun.source.requests, rerun.source.run, args)
            return 0
        holder = Holder(machine_name(config.settings.workers.machine_id), process_name())
        pause = threading.Event().wait  # nothing ever sets it: a bounded wait
        claims = Claims(cluster, holder, clock=clock, pause=pause, gone=is_gone)
        reader = PartitionReader(settings, group=kafka.prefix)
        try:
            rerunner = Rerunner(cluster, claims, reader, Producer(settings), clock, watched)
            manifest = rerunner.run(rerun)
        finally:
            reader.close()
    _say(manifest.run, manifest.requests, rerun.source.run, args)
    return 0


def _say(target: str, requests: int, source: str, args: argparse.Namespace) -> None:
    if args.json:
        show_json({"run": target, "of": source, "requests": requests, "dry_run": args.dry_run})
    else:
        would = "would be written" if args.dry_run else "are written"
        print(f"{target}: {requests:,} requests of {source} {would}")
