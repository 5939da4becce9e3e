"""The tables that a person reads, and the files that a program does."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench.accounts import AccountsUse
from bench.enqueue import Start
from bench.limiter import LimiterCost
from bench.limits import LimitUse
from bench.lives import MEGABYTE, Growth, Lives
from bench.scrape import PARTNERS, WORKERS, Scrapes
from bench.throughput import Measured


def table(
    console: Console, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Print one table, its first column to the left."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    for number, head in enumerate(heads):
        shown.add_column(head, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def throughput(console: Console, title: str, rounds: Iterable[Measured]) -> None:
    """Print rates, CPU and memory of some rounds."""
    table(
        console,
        title,
        ("", "requests", "requests/s", "CPU s / 1,000", "peak MB"),
        (
            (
                one.label,
                f"{one.requests:,}",
                f"{one.rate:,.0f}",
                f"{one.cpu_per_thousand:.2f}",
                f"{one.peak_bytes / MEGABYTE:.0f}",
            )
            for one in rounds
        ),
    )


def scrapes(console: Console, found: Scrapes) -> None:
    """Print what a scrape of the largest VM takes, beside what it may."""
    table(
        console,
        f"scrape: {WORKERS} workers, {PARTNERS} partners",
        ("", "KB", "median ms", "95 % ms", "longest ms", "CPU ms", "aim ms", "aim reached"),
        [
            (
                f"{found.scrapes} scrapes",
                f"{found.bytes / 1000:.0f}",
                f"{1000 * found.median_seconds:.1f}",
                f"{1000 * found.most_seconds:.1f}",
                f"{1000 * found.longest_seconds:.1f}",
                f"{1000 * found.cpu_seconds:.1f}",
                f"{1000 * found.aim_seconds:.0f}",
                "yes" if found.most_seconds < found.aim_seconds else "NO",
            )
        ],
    )


def ratios(console: Console, ours: float, cpu: float, what: str) -> None:
    """Print what it comes to."""
    console.print(f"{what}: {ours:.2f} times the peer's rate at {cpu:.2f} times its CPU a request")


def floor(console: Console, name: str, cpu: float, peers: float) -> None:
    """Print what parsing and writing alone cost of it."""
    console.print(
        f"{name}: parse and write alone take {cpu:.2f} CPU s / 1,000,"
        f" {cpu / peers:.2f} of the best peer's"
    )


def limits(console: Console, uses: Iterable[LimitUse]) -> None:
    """Print what was made of the limits."""
    table(
        console,
        "100 requests/s, 5/s an account, 50 accounts",
        ("", "meter", "seconds", "calls", "share used", "429s", "429s of calls"),
        (
            (
                one.label,
                one.meter,
                f"{one.seconds:.0f}",
                f"{one.calls:,}",
                f"{one.share:.2%}",
                str(one.throttled),
                f"{one.throttled_share:.2%}",
            )
            for one in uses
        ),
    )


def accounts(console: Console, uses: Iterable[AccountsUse]) -> None:
    """Print what was made of the accounts' own limits."""
    table(
        console,
        "accounts with limits of their own, all under one daemon",
        ("an account", "accounts", "share used", "least", "429s"),
        (
            (
                f"{one.limit.calls} in {one.limit.seconds:g} s, {one.limit.meter}",
                str(one.accounts),
                f"{one.used.share:.2%}",
                f"{one.least:.2%}",
                str(one.throttled),
            )
            for one in uses
        ),
    )


def limiter(console: Console, costs: Iterable[LimiterCost]) -> None:
    """Print what the limiter costs."""
    table(
        console,
        "the limiter, CPU of a call: asked, charged, corrected (aim: < 10 microseconds)",
        ("limits of a call", "scopes", "microseconds"),
        ((one.limits, f"{one.scopes:,}", f"{one.microseconds:.1f}") for one in costs),
    )


def lives(console: Console, found: Lives, grown: Growth) -> None:
    """Print how soon it is back, and how much memory it takes."""

    def seconds(times: Sequence[float]) -> str:
        return f"{sorted(times)[len(times) // 2]:.2f} s (worst {max(times):.2f} s)"

    dirty = max(found.idle_worker_bytes, default=0) / MEGABYTE
    rows = [
        ("kill -9 of a worker to the next one's first call", seconds(found.worker_back_seconds)),
        ("start to first call, after a stop", seconds(found.restart_seconds)),
        ("start to first call, after kill -9", seconds(found.restart_after_kill_seconds)),
        ("private dirty memory of an idle worker, most", f"{dirty:.1f} MB"),
        *(
            (f"private memory of a worker, {done:,} requests done", f"{size / MEGABYTE:.1f} MB")
            for done, size in grown.milestones.items()
        ),
        (
            "growth in 100,000 requests",
            f"{grown.per_hundred_thousand / MEGABYTE:+.1f} MB",
        ),
    ]
    table(console, "reportd's processes", ("", "measured"), rows)


def starts(console: Console, measured: Iterable[Start]) -> None:
    """Print how long the enqueuer took, and where."""
    table(
        console,
        "reportd-enqueue, local Spark (seconds)",
        (
            *("", "requests", "written", "all", "aim"),
            *("Spark's start", "table", "rest", "CPU", "MB", "load"),
        ),
        (
            (
                one.label,
                f"{one.requests:,}",
                f"{one.written:,}",
                f"{one.seconds:.1f}",
                f"< {one.target_seconds:.0f}" if one.target_seconds else "",
                f"{one.spark_start_seconds:.1f}",
                f"{one.accounts_seconds:.1f}",
                f"{one.requests_seconds:.1f}",
                f"{one.cpu_seconds:.1f}",
                f"{one.peak_megabytes:.0f}",
                f"{one.load:.1f}",
            )
            for one in measured
        ),
    )


def write(folder: Path, name: str, value: Any) -> None:
    """Write one JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    data = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    (folder / f"{name}.json").write_bytes(data)
