"""``reportctl backfill``: ask for past days of a report, without Spark."""

import argparse
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reportd.broker.admin import Admin
from reportd.broker.producer import Producer
from reportd.broker.topics import Topics
from reportd.cli.known_accounts import known_accounts
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.showing import harmless, show_json, show_table, watched
from reportd.clock import SystemClock
from reportd.config.days import FixedDays
from reportd.config.load import Config, load
from reportd.config.problems import did_you_mean
from reportd.config.schedule import load_schedules
from reportd.enqueue.backfill import (
    MOST_REQUESTS,
    SCHEDULE,
    Backfill,
    Wanted,
    plan_of,
    requests_of,
)
from reportd.enqueue.holder import is_gone, machine_name, process_name
from reportd.enqueue.plan import RunPlan
from reportd.enqueue.runs import Holder
from reportd.enqueue.runs_topic import BrokerCluster
from reportd.errors import BrokerError, ConfigError, InvalidMessageError, UnavailableError
from reportd.model.account import Account
from reportd.model.run import RunId
from reportd.partners.load import load_partners
from reportd.sinks.formats import FORMATS

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

ALL = "all"
NAMED_MOST = 10


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``backfill PARTNER REPORT --from DAY --to DAY --accounts ...``."""
    parser = subparsers.add_parser(
        "backfill",
        help="ask for past days of a report",
        description="Write the requests for past days of a report, for accounts as the last "
        "enqueue saw them: up to 100,000 requests, of the class backfill, as a run of their own. "
        'They give way to daily ones. For more, a schedule with class = "backfill" does it with '
        "Spark.",
        epilog="example: reportctl backfill google_ads campaigns --from 2026-01-01 --to 2026-06-30"
        " --accounts all --dry-run",
    )
    parser.add_argument("partner", metavar="PARTNER")
    parser.add_argument("report", metavar="REPORT")
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help="first day")
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="last day")
    parser.add_argument(
        "--accounts",
        required=True,
        metavar="A,B|@FILE|all",
        help="ids with commas, a file with one a line, or all that are active",
    )
    parser.add_argument(
        "--split-days",
        type=int,
        metavar="N",
        help="days of one request at most (default: as many as the report allows)",
    )
    parser.add_argument(
        "--format",
        action="append",
        metavar="FORMAT",
        help="once for each (default: as a schedule asks for the report, or parquet)",
    )
    parser.add_argument(
        "--param", action="append", default=[], metavar="KEY=VALUE", help="a parameter; repeatable"
    )
    parser.add_argument(
        "--run", dest="run_name", metavar="RUN", help="go on with a backfill that failed"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write it; raises `ConfigError`, `UnavailableError`."""
    config = load(args.config)
    settings = reach(config.settings.kafka)
    topics = Topics(config.settings.kafka.prefix)
    wanted = _wanted(args, config)
    plan = plan_of(wanted, _run_id(args.run_name), topics)
    accounts = _accounts(
        args.accounts, known_accounts(settings, topics, args.partner), args.partner
    )
    count = len(plan.asks) * len(accounts)
    if count > MOST_REQUESTS:
        raise ConfigError(
            f"{count:,} requests are more than {MOST_REQUESTS:,}: ask for fewer days or accounts, "
            'or have a schedule with class = "backfill" do it'
        )
    if not args.dry_run:
        _write(config, wanted, plan, accounts, count)
    _say(args, wanted, plan, accounts, count)
    return 0


def _wanted(args: argparse.Namespace, config: Config) -> Wanted:
    partners = load_partners(config.settings.partners_folder)
    if args.partner not in partners:
        raise ConfigError(f"no partner {args.partner!r}; {did_you_mean(args.partner, partners)}")
    partner = partners[args.partner]
    if args.report not in partner.reports:
        hint = did_you_mean(args.report, partner.reports)
        raise ConfigError(f"{args.partner} has no report {args.report!r}; {hint}")
    first, last = _day("--from", args.first), _day("--to", args.last)
    problems = []
    if last < first:
        problems.append("--to is before --from")
    if args.split_days is not None and args.split_days < 1:
        problems.append("--split-days: at least 1")
    formats = tuple(dict.fromkeys(args.format or _usual_formats(config, args)))
    problems += [
        f"--format {name}: {did_you_mean(name, FORMATS)}" for name in formats if name not in FORMATS
    ]
    params = dict(each.partition("=")[::2] for each in args.param)
    if problems:
        raise ConfigError(*problems)
    return Wanted(partner, args.report, FixedDays(first, last), formats, params, args.split_days)


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text}: write it like 2026-11-21") from None


def _usual_formats(config: Config, args: argparse.Namespace) -> Iterable[str]:
    """Return the formats that a schedule asks the report for."""
    name = f"{args.partner}.{args.report}"
    for schedule in load_schedules(config.settings.schedules_folder, config.secrets).values():
        for ask in schedule.settings.ask:
            if ask.report == name:
                return ask.formats
    return ("parquet",)


def _run_id(name: str | None) -> RunId:
    if name is None:
        return RunId(SCHEDULE, datetime.now(UTC).replace(microsecond=0), 1)
    try:
        found = RunId.parse(name)
    except InvalidMessageError as error:
        raise ConfigError(f"--run: {error}") from None
    if found.schedule != SCHEDULE:
        raise ConfigError(f"--run {name}: is no backfill's")
    return found


def _accounts(asked: str, known: dict[str, Account], partner: str) -> list[Account]:
    if not known:
        raise ConfigError(
            f"no account of {partner} is known: they come from the accounts table with the first "
            "'reportd-enqueue'"
        )
    if asked == ALL:
        return [account for _, account in sorted(known.items()) if account.active]
    names = _names(asked)
    unknown = [name for name in names if name not in known]
    if unknown:
        said = ", ".join(harmless(name) for name in unknown[:NAMED_MOST])
        more = f" and {len(unknown) - NAMED_MOST} more" if len(unknown) > NAMED_MOST else ""
        raise ConfigError(f"{partner} has no account {said}{more} in its last accounts table")
    return [known[name] for name in names]


def _names(asked: str) -> list[str]:
    if not asked.startswith("@"):
        return list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    try:
        text = Path(asked[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--accounts {asked}: cannot be read: {error}") from None
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _write(
    config: Config, wanted: Wanted, plan: RunPlan, accounts: Sequence[Account], count: int
) -> None:
    settings = reach(config.settings.kafka)
    topics = Topics(config.settings.kafka.prefix)
    partitions = Admin(settings).topics().get(topics.backfill(wanted.partner.name), 0)
    if not partitions:
        raise UnavailableError(
            f"topic {topics.backfill(wanted.partner.name)} is missing; make it with 'reportctl"
            " topics create'"
        )
    holder = Holder(machine_name(config.settings.workers.machine_id), process_name())
    with BrokerCluster(settings, topics, topics.prefix) as cluster:
        backfill = Backfill(wanted, plan, cluster, holder, SystemClock(), is_gone)
        requests = watched(requests_of(plan, accounts), count, "requests")
        try:
            backfill.write(requests, accounts, Producer(settings), partitions)
        except BrokerError as error:
            raise UnavailableError(f"{error}; go on with: --run '{plan.run}'") from error


def _say(
    args: argparse.Namespace, wanted: Wanted, plan: RunPlan, accounts: Sequence[Account], count: int
) -> None:
    spans = [str(ask.days) for ask in plan.asks]
    if args.json:
        show_json(
            {
                "run": str(plan.run),
                "requests": count,
                "accounts": len(accounts),
                "spans": spans,
                "formats": wanted.formats,
                "written": not args.dry_run,
            }
        )
        return
    show_table(
        ("run", "requests", "accounts", "days", "in requests of", "formats"),
        [
            (
                str(plan.run),
                count,
                len(accounts),
                str(wanted.days),
                f"{spans[0]} ... {spans[-1]}" if len(spans) > 1 else spans[0],
                ", ".join(wanted.formats),
            )
        ],
    )
    if args.dry_run:
        print("nothing is written: a dry run")
    else:
        print(f"written; it is over when this ends: reportctl wait '{plan.run}'")
