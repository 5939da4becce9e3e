"""How long work takes, and what it waits for: played on a virtual clock, partner by partner.

Used by ``reportctl plan`` and ``reportd-enqueue --plan``; scheduler and limits are the workers'.
"""

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson

from reportd.broker.keys import partition_of
from reportd.cli.showing import duration, instant, show_table
from reportd.enqueue.backfill import request_of
from reportd.enqueue.plan import AskRow, RunPlan
from reportd.limits.limiter import Now
from reportd.model.account import Account
from reportd.model.request import Request
from reportd.partners.partner import Partner
from reportd.worker.calling import Rules
from reportd.worker.forecast import THREADS, TIME, Forecast, Work, forecast

CALL_SECONDS = 1.0
VM_CALLS_A_SECOND = 250.0
"""What a VM with two CPUs makes of small reports: docs/benchmarks.rst."""


BINDS = {THREADS: "calls at once (workers.threads)", TIME: "their days are not over"}
"""What binds, where it is no limit, for people."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one partner's part of some work comes to."""

    partner: str
    accounts: int
    requests: int
    calls: int
    limits: str
    binds: str
    seconds: float
    unfinished: int
    vms: int


class Outlook:
    """Takes one partner's requests, and says what comes of them."""

    def __init__(self, partner: Partner, start: datetime, threads: int) -> None:
        """Begin at an instant, with nothing to do."""
        self._partner = partner
        self._start = start
        self._threads = threads
        self._rules = Rules(partner)
        self._parts: dict[int, dict[tuple[str, str, str, float], Work]] = {}
        self._accounts: set[str] = set()
        self._requests = 0

    def add(self, request: Request, count: int = 1, partition: int | None = None) -> None:
        """Take requests of one account, report, class and time; of the key's own partition."""
        if partition is None:
            key = self._rules.key_of(request).encode()
            partition = partition_of(key, self._partner.partitions)
        wait = max(0.0, (request.not_before or 0.0) - self._start.timestamp())
        kind = request.account, request.report, request.class_, wait
        calls = len(self._partner.reports[request.report].steps)
        works = self._parts.setdefault(partition, {})
        works.setdefault(kind, Work(request, calls=calls, wait_seconds=wait)).count += count
        self._accounts.add(request.account)
        self._requests += count

    def row(self, call_seconds: float) -> Row:
        """Play it, every call taking so long."""
        start = Now(0.0, self._start.timestamp(), 0.0)
        found = [
            forecast(self._rules, list(works.values()), start, self._threads, call_seconds)
            for works in self._parts.values()
        ]
        slowest = max(found, key=lambda one: one.seconds, default=Forecast())
        calls = sum(one.calls for one in found)
        rate = calls / slowest.seconds if slowest.seconds else 0.0
        return Row(
            partner=self._partner.name,
            accounts=len(self._accounts),
            requests=self._requests,
            calls=calls,
            limits="; ".join(limit.words() for limit in self._partner.spec.limits) or "none",
            binds=slowest.binds,
            seconds=round(slowest.seconds, 1),
            unfinished=sum(one.unfinished for one in found),
            vms=max(1, min(len(found), math.ceil(rate / VM_CALLS_A_SECOND))),
        )


def outlook_of(
    plan: RunPlan, partner: Partner, accounts: Iterable[Account], start: datetime, threads: int
) -> Outlook:
    """Return what a run asks of one partner, for those of the accounts that are its own."""
    found = Outlook(partner, start, threads)
    by_zone: dict[str, list[Account]] = {}
    for account in accounts:
        if account.partner == partner.name:
            by_zone.setdefault(account.timezone, []).append(account)
    for zone, there in by_zone.items():
        for row, count in _alike(plan.rows({partner.name: [zone]}), start):
            for account in there:
                found.add(request_of(row, account), count)
    return found


def _alike(rows: Iterable[AskRow], start: datetime) -> Iterator[tuple[AskRow, int]]:
    """Yield one of the rows of each report, class and time, and how many of them there are."""
    found: dict[tuple[str, str, float], list[AskRow]] = {}
    for row in rows:
        body = orjson.loads(f"{{{row.body}}}")
        due = max(start.timestamp(), body["not_before"])
        found.setdefault((row.report, body["class"], due), []).append(row)
    return ((alike[0], len(alike)) for alike in found.values())


def show_rows(rows: Sequence[Row]) -> None:
    """Print the table."""
    show_table(
        ("partner", "accounts", "requests", "calls", "limits", "binds", "takes", "VMs of use"),
        (
            (
                row.partner,
                row.accounts,
                row.requests,
                row.calls,
                row.limits,
                BINDS.get(row.binds, row.binds),
                "more than 60 days" if row.unfinished else duration(row.seconds),
                row.vms,
            )
            for row in rows
        ),
    )


def rows_document(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return the table for programs."""
    return [asdict(row) for row in rows]


def seconds_of(rows: Iterable[Row]) -> float:
    """Return how long all of it takes: partners wait for nobody else's limits."""
    return max((row.seconds for row in rows), default=0.0)


def verdict(name: str, rows: Sequence[Row], start: datetime, deadline: float | None) -> str:
    """Say when all of it is done, and whether that is in time."""
    if any(row.unfinished for row in rows):
        return f"{name}: takes more than 60 days"
    seconds = seconds_of(rows)
    said = f"{name}: {duration(seconds)}, done {instant(start.timestamp() + seconds)}"
    if deadline is None:
        return said
    left = deadline - start.timestamp()
    if left < 0:
        return f"{said}; its deadline was {duration(-left)} ago"
    late = f"misses its deadline by {duration(seconds - left)}" if seconds > left else "in time"
    return f"{said}, deadline in {duration(left)}: {late}"


def add_call_seconds(parser: argparse.ArgumentParser) -> None:
    """Add ``--call-seconds S``."""
    parser.add_argument(
        "--call-seconds",
        type=_seconds,
        default=CALL_SECONDS,
        metavar="S",
        help=f"how long a call takes (default: {CALL_SECONDS:g})",
    )


def _seconds(text: str) -> float:
    """Return more than 0 seconds."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError("more than 0")
    return found
