"""``python -m tests.simulation.scale [--requests N]``: the table of docs/scale.rst."""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

from reportd.broker.keys import partition_of
from reportd.observer.progress import Progress
from tests.simulation.scale.day import SAMPLE_SECONDS, Day, Job, Played
from tests.simulation.scale.fleet import Fleet, fleet
from tests.simulation.scale.kinds import KINDS, Kind

DAY_SECONDS = 86_400.0
SHARE_LEAST = 0.99
ETA_OFF_MOST = 0.1
LONG_SECONDS = 3600.0
"""Whose demand lasts that long shows how a limit is used; the others' starts are mostly start."""
LAST_SECONDS = 900.0
"""What is left in the end is a few calls: no rate."""


def jobs(requests: int, seed: int, kinds: Sequence[Kind]) -> tuple[list[Job], Fleet]:
    """Return every partition's day."""
    random = Random(seed)
    played = fleet(sum(kind.partitions for kind in kinds), 2 * DAY_SECONDS, random)
    made: list[Job] = []
    for kind in kinds:
        parts: dict[int, dict[str, int]] = {number: {} for number in range(kind.partitions)}
        for account, count in kind.counts(requests // len(kinds)).items():
            parts[partition_of(account.encode(), kind.partitions)][account] = count
        for number, counts in parts.items():
            made.append(
                Job(
                    kind=kind,
                    index=number,
                    counts=counts,
                    tenures=played.tenures[len(made)],
                    seed=random.randrange(2**32),
                )
            )
    return made, played


def play(job: Job) -> tuple[Played, float, int]:
    """Play one; return CPU seconds and the process's highest memory in kB, too."""
    began = time.process_time()
    played = Day(job).play()
    return played, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True, slots=True)
class Row:
    """One partner's line of the table."""

    partner: str
    requests: int
    calls: int
    repeated: int
    over: int
    hours: float
    long_accounts: int
    """Accounts whose demand lasted for `LONG_SECONDS`."""
    share_least: float
    """How much of its limit the account used that used the least of it."""
    share: float
    """Of all their limits together, while there was demand."""
    eta_off: float
    """The shown ETA's largest error, as a part of what was left, from a tenth of the time on."""
    parked_most: int
    entries_most: int


def row(kind: Kind, days: Sequence[Played]) -> Row:
    """Put a partner's partitions together."""
    rate = kind.limit.calls / kind.limit.seconds
    finished: dict[str, float] = {}
    called: dict[str, int] = {}
    for day in days:
        finished |= day.finished_at
        called |= day.called
    long = [account for account, at in finished.items() if at >= LONG_SECONDS]
    allowed = sum(rate * finished[account] for account in long)
    shares = {account: called[account] / (rate * finished[account]) for account in long}
    return Row(
        partner=kind.name,
        requests=sum(day.requests for day in days),
        calls=sum(day.calls for day in days),
        repeated=sum(day.repeated for day in days),
        over=sum(day.over for day in days),
        hours=max(finished.values()) / 3600,
        long_accounts=len(long),
        share_least=min(shares.values(), default=0.0),
        share=sum(called[one] for one in long) / (allowed or 1.0),
        eta_off=eta_off(kind, days, max(finished.values())),
        parked_most=max(day.parked_most for day in days),
        entries_most=max(day.entries_most for day in days),
    )


def eta_off(kind: Kind, days: Sequence[Played], ended_at: float) -> float:
    """Return the largest error of the ETA that the observer would have shown."""
    total = sum(day.requests for day in days)
    progress = Progress()
    worst = 0.0
    for number in range(int((ended_at - LAST_SECONDS) / SAMPLE_SECONDS)):
        now = number * SAMPLE_SECONDS
        samples = [day.samples[min(number, len(day.samples) - 1)] for day in days]
        remaining = total - sum(ended for ended, _ in samples)
        progress.note(kind.name, "all", total - remaining)
        progress.tick(kind.name, now, remaining)
        slowest = max(most for _, most in samples) * kind.limit.seconds / kind.limit.calls
        eta = progress.eta_seconds(kind.name, remaining, slowest)
        if now >= ended_at / 10 and eta is not None:
            worst = max(worst, abs(eta - (ended_at - now)) / (ended_at - now))
    return worst


def run(
    requests: int, seed: int, processes: int, kinds: Sequence[Kind] = KINDS
) -> tuple[list[Row], str]:
    """Play a day; return the table and what was behind it.

    One process is this one: a test's has threads, and a fork of it may crash.
    """
    made, played = jobs(requests, seed, kinds)
    days: dict[str, list[Played]] = defaultdict(list)
    began, cpu_seconds, memory = time.monotonic(), 0.0, 0
    with ExitStack() as stack:
        largest_first = sorted(made, key=lambda job: -sum(job.counts.values()))
        found: Iterator[tuple[Played, float, int]] = map(play, largest_first)
        if processes > 1:
            pool = stack.enter_context(multiprocessing.Pool(processes, maxtasksperchild=1))
            found = pool.imap_unordered(play, largest_first)
        for day, seconds, kilobytes in found:
            days[day.partner].append(day)
            cpu_seconds += seconds
            memory = max(memory, kilobytes)
    events = ", ".join(f"{count} {kind}" for kind, count in sorted(played.events.items()))
    words = (
        f"seed {seed}; {len(made)} partitions, {played.vms_least} to {played.vms_most} VMs: "
        f"{events}\n{time.monotonic() - began:.0f} s on {processes} processes, "
        f"{cpu_seconds:.0f} s of CPU, {memory / 1000:.0f} MB the largest"
    )
    return [row(kind, days[kind.name]) for kind in kinds], words


def broken(rows: Sequence[Row]) -> list[str]:
    """Return what the day promised and did not keep."""
    found = []
    for one in rows:
        if one.over:
            found.append(f"{one.partner}: {one.over} calls over the limit")
        if one.repeated:
            found.append(f"{one.partner}: {one.repeated} finished calls repeated")
        if one.long_accounts and one.share_least < SHARE_LEAST:
            found.append(f"{one.partner}: {one.share_least:.2%} of a limit used")
        if one.hours > 1.0 and one.eta_off > ETA_OFF_MOST:
            found.append(f"{one.partner}: the ETA was off by {one.eta_off:.0%}")
    return found


def main() -> int:
    """Play the day and print the table; exit 1 if it breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.scale")
    parser.add_argument("--requests", type=int, default=10_000_000, help="of the whole day")
    parser.add_argument("--seed", type=int, default=1, help="of the fleet's day")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    given = parser.parse_args()
    rows, words = run(given.requests, given.seed, given.jobs or 1)
    for one in rows:
        print(
            f"{one.partner}: {one.requests:,} requests, {one.calls:,} calls in {one.hours:.1f} h; "
            f"{one.over} over the limit, {one.repeated} finished ones repeated; "
            f"{one.long_accounts} accounts of an hour or more used {one.share:.2%} of their limits "
            f"(the least {one.share_least:.2%}); ETA off by at most {one.eta_off:.1%}; at most "
            f"{one.entries_most:,} requests and {one.parked_most:,} parked in a worker's memory"
        )
    print(words)
    for what in broken(rows):
        print(f"BROKEN: {what}")
    return 1 if broken(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
