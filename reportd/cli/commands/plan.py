"""``reportctl plan``: how long a schedule's work takes, and what it waits for."""

import argparse
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reportd.broker.keys import partition_of
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.cli.known_accounts import known_accounts
from reportd.cli.options import add_config_option
from reportd.cli.showing import duration, show_json, show_table
from reportd.config.load import load
from reportd.config.problems import did_you_mean
from reportd.config.schedule import load_schedules
from reportd.enqueue.backfill import requests_of
from reportd.enqueue.job import planned_asks
from reportd.enqueue.plan import RunPlan, in_turn
from reportd.errors import ConfigError
from reportd.limits.limiter import Now
from reportd.model.account import Account
from reportd.model.run import RunId
from reportd.partners.load import load_partners
from reportd.partners.partner import Partner
from reportd.worker.calling import Rules
from reportd.worker.forecast import THREADS, Forecast, Work, forecast

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

CALL_SECONDS = 1.0
VM_CALLS_A_SECOND = 250.0
"""What a VM with two CPUs makes of small reports: docs/benchmarks.rst."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one partner's part of a run comes to."""

    partner: str
    accounts: int
    requests: int
    calls: int
    limits: str
    binds: str
    seconds: float
    unfinished: int
    vms: int


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``plan SCHEDULE [--call-seconds S] [--json]``."""
    parser = subparsers.add_parser(
        "plan",
        help="how long a schedule's run takes, and which limit binds",
        description="Play a schedule's next run, for the accounts that the last enqueue saw, on a "
        "virtual clock: the scheduler and the limits are those of the workers. Nothing else is "
        "open then, nothing fails, and a request takes as many calls as its report has steps (a "
        "page or a poll more is a call more): so it is the least that it can take. 1 if it would "
        "miss its deadline.",
        epilog="example: reportctl plan daily --call-seconds 2",
    )
    parser.add_argument("schedule", metavar="SCHEDULE")
    parser.add_argument(
        "--call-seconds",
        type=float,
        default=CALL_SECONDS,
        metavar="S",
        help=f"how long a call takes (default: {CALL_SECONDS:g})",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show it; raises `ConfigError`, `BrokerError`."""
    config = load(args.config)
    partners = load_partners(config.settings.partners_folder)
    schedules = load_schedules(config.settings.schedules_folder, config.secrets)
    if args.schedule not in schedules:
        hint = did_you_mean(args.schedule, schedules)
        raise ConfigError(f"no schedule {args.schedule!r}; {hint}")
    if args.call_seconds <= 0:
        raise ConfigError("--call-seconds: more than 0")
    schedule = schedules[args.schedule]
    topics = Topics(config.settings.kafka.prefix)
    slot = datetime.now(UTC).replace(microsecond=0)
    asks = in_turn(planned_asks(schedule, partners, topics))
    settings = client_settings(config.settings.kafka)
    threads = config.settings.workers.threads
    rows = []
    for name in dict.fromkeys(ask.partner for ask in asks):
        known = known_accounts(settings, topics, name).values()
        accounts = [account for account in known if account.active]
        plan = RunPlan(
            RunId(args.schedule, slot, 1), tuple(ask for ask in asks if ask.partner == name)
        )
        played = _played(plan, partners[name], accounts, slot, threads, args.call_seconds)
        rows.append(_row(partners[name], len(accounts), *played))
    deadline = schedule.settings.deadline
    left = None if deadline is None else deadline.after(slot).timestamp() - slot.timestamp()
    seconds = max((row.seconds for row in rows), default=0.0)
    _show(args, rows, seconds, left)
    return 1 if left is not None and seconds > left else 0


def _played(
    plan: RunPlan,
    partner: Partner,
    accounts: list[Account],
    slot: datetime,
    threads: int,
    call_seconds: float,
) -> tuple[int, list[Forecast]]:
    """Return how many requests there are, and what comes of each partition's."""
    rules = Rules(partner)
    parts: dict[int, dict[tuple[str, str, str], Work]] = {}
    count = 0
    for request in requests_of(plan, accounts):
        count += 1
        number = partition_of(rules.key_of(request).encode(), partner.partitions)
        key = request.account, request.report, request.class_
        calls = len(partner.reports[request.report].steps)
        work = parts.setdefault(number, {}).setdefault(key, Work(request, calls=calls))
        work.count += 1
    start = Now(0.0, slot.timestamp(), 0.0)
    return count, [
        forecast(rules, list(works.values()), start, threads, call_seconds)
        for works in parts.values()
    ]


def _row(partner: Partner, accounts: int, requests: int, found: list[Forecast]) -> Row:
    slowest = max(found, key=lambda one: one.seconds, default=Forecast())
    calls = sum(one.calls for one in found)
    rate = calls / slowest.seconds if slowest.seconds else 0.0
    return Row(
        partner=partner.name,
        accounts=accounts,
        requests=requests,
        calls=calls,
        limits="; ".join(limit.words() for limit in partner.spec.limits) or "none",
        binds=slowest.binds,
        seconds=round(slowest.seconds, 1),
        unfinished=sum(one.unfinished for one in found),
        vms=max(1, min(len(found), math.ceil(rate / VM_CALLS_A_SECOND))),
    )


def _show(
    args: argparse.Namespace, rows: Iterable[Row], seconds: float, left: float | None
) -> None:
    if args.json:
        show_json({"partners": [_document(row) for row in rows], "seconds": seconds, "left": left})
        return
    show_table(
        ("partner", "accounts", "requests", "calls", "limits", "binds", "takes", "VMs of use"),
        (
            (
                row.partner,
                row.accounts,
                row.requests,
                row.calls,
                row.limits,
                "calls at once (workers.threads)" if row.binds == THREADS else row.binds,
                "more than 60 days" if row.unfinished else duration(row.seconds),
                row.vms,
            )
            for row in rows
        ),
    )
    if left is not None:
        late = f"misses its deadline by {duration(seconds - left)}" if seconds > left else "in time"
        print(f"{args.schedule}: {duration(seconds)}, deadline in {duration(left)}: {late}")


def _document(row: Row) -> Mapping[str, Any]:
    return {name: getattr(row, name) for name in Row.__slots__}
