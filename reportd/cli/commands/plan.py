"""``reportctl plan``: how long a schedule's work takes, or what is open of a run, and why."""

import argparse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.cli.known_accounts import known_accounts
from reportd.cli.open_requests import open_requests
from reportd.cli.options import add_config_option
from reportd.cli.outlook import (
    Outlook,
    add_call_seconds,
    outlook_of,
    rows_document,
    seconds_of,
    show_rows,
    verdict,
)
from reportd.cli.reaching import reach
from reportd.cli.run_names import KnownRuns, RunName
from reportd.cli.showing import show_json, watched
from reportd.config.load import Config, load
from reportd.config.problems import did_you_mean
from reportd.config.schedule import Schedule, load_schedules
from reportd.enqueue.accounts import check_present, name_of
from reportd.enqueue.csv_accounts import is_plain, read_csv
from reportd.enqueue.job import planned_asks
from reportd.enqueue.plan import RunPlan, in_turn
from reportd.errors import ConfigError
from reportd.model.account import Account
from reportd.model.run import RunId
from reportd.partners.load import load_partners
from reportd.partners.partner import Partner

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


@dataclass(frozen=True, slots=True)
class Work:
    """What is played, by partner, and until when (epoch seconds) it should be done."""

    outlooks: Mapping[str, Outlook]
    deadline: float | None


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``plan SCHEDULE|RUN [--call-seconds S] [--json]``."""
    parser = subparsers.add_parser(
        "plan",
        help="how long a schedule's run takes, or what is open of one; which limit binds",
        description="Play a schedule's next run, for the accounts that the last enqueue saw "
        "(before the first one: those of a local CSV), or what is open of a run that was "
        "enqueued, on a virtual clock: the scheduler and the limits are those of the workers. "
        "Nothing else is open then, nothing fails, and a request takes as many "
        "calls as its report has steps (a page or a poll more is a call more): so it "
        "is the least that it can take. 1 if it would miss its deadline.",
        epilog="example: reportctl plan daily --call-seconds 2",
    )
    parser.add_argument("name", metavar="SCHEDULE|RUN")
    add_call_seconds(parser)
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show it; raises `ConfigError`, `BrokerError`."""
    config = load(args.config)
    partners = load_partners(config.settings.partners_folder)
    now = datetime.now(UTC).replace(microsecond=0)
    work = (_of_run if "/" in args.name else _of_schedule)(args.name, config, partners, now)
    rows = [outlook.row(args.call_seconds) for outlook in work.outlooks.values()]
    seconds = seconds_of(rows)
    left = None if work.deadline is None else work.deadline - now.timestamp()
    if args.json:
        show_json({"partners": rows_document(rows), "seconds": seconds, "left": left})
    else:
        show_rows(rows)
        print(verdict(args.name, rows, now, work.deadline))
    return 1 if left is not None and seconds > left else 0


def _of_schedule(name: str, config: Config, partners: Mapping[str, Partner], now: datetime) -> Work:
    schedules = load_schedules(config.settings.schedules_folder, config.secrets)
    if name not in schedules:
        raise ConfigError(f"no schedule {name!r}; {did_you_mean(name, schedules)}")
    schedule = schedules[name]
    topics = Topics(config.settings.kafka.prefix)
    settings = reach(config.settings.kafka)
    plan = RunPlan(RunId(name, now, 1), in_turn(planned_asks(schedule, partners, topics)))
    asked = dict.fromkeys(ask.partner for ask in plan.asks)
    known = [
        account
        for partner in asked
        for account in known_accounts(settings, topics, partner).values()
    ] or _of_table(schedule, partners)
    threads = config.settings.workers.threads
    outlooks = {
        partner: outlook_of(
            plan,
            partners[partner],
            [each for each in known if each.partner == partner and each.active],
            now,
            threads,
        )
        for partner in asked
    }
    deadline = schedule.settings.deadline
    return Work(outlooks, None if deadline is None else deadline.after(now).timestamp())


def _of_table(schedule: Schedule, partners: Mapping[str, Partner]) -> list[Account]:
    """Return the accounts of a table that nobody has enqueued yet; raises `ConfigError`."""
    source = schedule.settings.accounts
    check_present(source)
    try:
        if is_plain(source):
            return read_csv(source, partners)
        why = "only Spark reads it"
    except OSError as error:
        why = str(error.strerror)
    raise ConfigError(
        f"no account is known before the first enqueue, and {name_of(source)}: {why};"
        f" 'reportd-enqueue {schedule.name} --plan' reads the table"
    )


def _of_run(name: str, config: Config, partners: Mapping[str, Partner], now: datetime) -> Work:
    kafka = config.settings.kafka
    topics, known = Topics(kafka.prefix), KnownRuns()
    outlooks: dict[str, Outlook] = {}
    with closing(PartitionReader(reach(kafka), group=kafka.prefix)) as reader:
        known.see(reader.read_all(topics.runs))
        found = known.named(RunName.parse(name))
        manifest = None if found is None else known.states()[found].manifest
        if manifest is None:
            raise ConfigError(f"{name}: there is no such run; 'reportctl runs' lists them")
        for part, request in open_requests(reader, topics, manifest, watched):
            partner = partners.get(request.partner)
            if partner is None or request.report not in partner.reports:
                what = f"{request.partner}.{request.report}"
                raise ConfigError(f"{name}: there is no report {what} in the partners' folder")
            outlook = outlooks.get(partner.name)
            if outlook is None:
                outlook = Outlook(partner, now, config.settings.workers.threads)
                outlooks[partner.name] = outlook
            outlook.add(request, partition=part[1])
    return Work(outlooks, manifest.deadline)
