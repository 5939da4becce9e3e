"""``make bench``, ``python -m bench``: measure, print tables, write build/bench/*.json."""

import argparse
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench import accounts, enqueue, floor, limiter, limits, lives, report, scrape, throughput
from bench.arena import Arena
from bench.peer.settings import PeerSettings
from bench.scene import Role

SECTIONS = ("csv", "json", "limits", "accounts", "limiter", "lives", "enqueue", "scrape")
ALONE = {"enqueue", "limiter", "scrape"}
"""What needs neither the peer nor the partners."""


def main() -> int:
    """Run the sections asked for."""
    args = _parser().parse_args()
    # Both sides are measured as they are installed: with their bytecode
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    console = Console(width=100)
    folder = Path(args.output).resolve()
    sections = args.sections or list(SECTIONS)
    console.print(_machine())
    if "enqueue" in sections:
        _enqueue(args, console, folder)
    if "limiter" in sections:
        costs = limiter.measure()
        report.limiter(console, costs)
        report.write(folder, "limiter", [cost.as_dict() for cost in costs])
    if "scrape" in sections:
        _scrape(args, console, folder)
    if set(sections) - ALONE:
        _against_the_peer(sections, args, console, folder)
    return 0


def _enqueue(args: argparse.Namespace, console: Console, folder: Path) -> None:
    with console.status("enqueue"):
        starts = enqueue.measure(folder, args.enqueue_requests, args.processes)
    report.starts(console, starts)
    report.write(folder, "enqueue", [asdict(start) for start in starts])


def _scrape(args: argparse.Namespace, console: Console, folder: Path) -> None:
    with console.status("scrape"):
        found = scrape.measure(folder, args.scrapes)
    report.scrapes(console, found)
    report.write(folder, "scrape", {"machine": _machine(), **found.as_dict()})


def _against_the_peer(
    sections: Sequence[str], args: argparse.Namespace, console: Console, folder: Path
) -> None:
    large = _role("large", "csv", 640, args.requests)
    small = _role("small", "json", 6, max(args.requests, args.growth_requests))
    limited = [limits.limited(meter) for meter in limits.METERS]
    roles = (large, small, *limited, *accounts.roles())
    with Arena(folder / f"work.{os.getpid()}", roles) as arena:
        for name, role in (("csv", large), ("json", small)):
            if name in sections:
                arena.warm_up(role, args.requests)
                _throughput(arena, role, name, args, console, folder)
        if "limits" in sections:
            _limits(arena, limited, args, console, folder)
        if "accounts" in sections:
            _accounts(arena, args, console, folder)
        if "lives" in sections:
            _lives(arena, small, args, console, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="default: all")
    parser.add_argument("--requests", type=int, default=4000, help="in one round of each side")
    parser.add_argument("--grid-requests", type=int, default=1500, help="in each of the grid's")
    parser.add_argument("--rounds", type=int, default=3, help="of each side, in turns")
    parser.add_argument("--limit-seconds", type=float, default=20.0, help="for each meter")
    parser.add_argument("--growth-requests", type=int, default=100_000, help="watched for growth")
    parser.add_argument("--enqueue-requests", type=int, default=1_000_000, help="Spark writes")
    parser.add_argument("--scrapes", type=int, default=200, help="of the largest VM")
    parser.add_argument("--kills", type=int, default=3, help="of each kind")
    parser.add_argument(
        "--processes", type=int, default=2, help="reportd's workers; cores of Spark"
    )
    parser.add_argument("--threads", type=int, default=16, help="of each of them: the default")
    parser.add_argument("--output", default="build/bench", help="folder of the JSON files")
    return parser


def _role(name: str, form: str, rows: int, accounts: int) -> Role:
    """One day's report of many accounts, one file each; 20 ms an answer; no limit."""
    assert form in ("csv", "json")
    return Role(
        name=name,
        format="csv" if form == "csv" else "json",
        rows=rows,
        accounts=accounts,
        latency_seconds=0.02,
        partitions=12,
    )


def _throughput(
    arena: Arena,
    role: Role,
    name: str,
    args: argparse.Namespace,
    console: Console,
    folder: Path,
) -> None:
    tried: list[tuple[PeerSettings, throughput.Measured]] = []
    with console.status("") as status:
        for settings in throughput.grid():
            status.update(f"{name}: the peer, {settings.label}")
            make = throughput.peer(settings, role)
            count = args.grid_requests
            tried.append((settings, throughput.measure(arena, role, count, make, settings.label)))
    grid = [one for _, one in tried]
    report.throughput(
        console, f"{name}: the peer's settings (processes x requests at once, parsing)", grid
    )
    best = max(tried, key=lambda pair: pair[1].rate)[0]
    default = PeerSettings(
        processes=best.processes, concurrency=best.concurrency, parsing=best.parsing, lean=False
    )
    sides = {
        "reportd": throughput.reportd(args.processes, args.threads),
        f"peer {best.label}": throughput.peer(best, role),
        f"peer {best.label}, pyarrow's defaults": throughput.peer(default, role),
    }
    found: dict[str, list[throughput.Measured]] = {label: [] for label in sides}
    with console.status("") as status:
        for number in range(args.rounds):
            for label, make in sides.items():
                status.update(f"{name}: round {number + 1}, {label}")
                one = throughput.measure(arena, role, args.requests, make, label)
                found[label].append(one)
    report.throughput(
        console,
        f"{name}: medians of {args.rounds} rounds in turns",
        [throughput.median(rounds) for rounds in found.values()],
    )
    lowest = floor.measure(arena, role, args.grid_requests, best.processes)
    theirs_cpu = statistics.median(one.cpu_per_thousand for one in found[f"peer {best.label}"])
    report.floor(console, name, lowest, theirs_cpu)
    ours, *others = found.values()
    compared = {}
    for label, theirs in zip(list(sides)[1:], others, strict=True):
        pairs = list(zip(ours, theirs, strict=True))
        rate = statistics.median(a.rate / b.rate for a, b in pairs)
        cpu = statistics.median(a.cpu_per_thousand / b.cpu_per_thousand for a, b in pairs)
        compared[label] = {"rate": round(rate, 3), "cpu": round(cpu, 3)}
        report.ratios(console, rate, cpu, f"{name}, against {label}")
    report.write(
        folder,
        f"throughput-{name}",
        {
            "machine": _machine(),
            "grid": [one.as_dict() for one in grid],
            "rounds": {label: [one.as_dict() for one in rounds] for label, rounds in found.items()},
            "reportd_against": compared,
            "parse_and_write_cpu_seconds_per_1000": round(lowest, 3),
        },
    )


def _limits(
    arena: Arena, roles: list[Role], args: argparse.Namespace, console: Console, folder: Path
) -> None:
    peer = PeerSettings(processes=1, concurrency=64, parsing="inline")
    uses = []
    with console.status("") as status:
        for role in roles:
            sides = {
                "reportd": throughput.reportd(1, args.threads),
                "peer": throughput.peer(peer, role),
            }
            for label, make in sides.items():
                status.update(f"limits: {role.meter}, {label}")
                uses.append(limits.measure(arena, role, args.limit_seconds, make, label))
    report.limits(console, uses)
    report.write(folder, "limits", [use.as_dict() for use in uses])


def _accounts(arena: Arena, args: argparse.Namespace, console: Console, folder: Path) -> None:
    with console.status("accounts with limits of their own"):
        seconds = 3 * args.limit_seconds
        uses = accounts.measure(arena, seconds, args.processes, args.threads)
    report.accounts(console, uses)
    report.write(folder, "accounts", [use.as_dict() for use in uses])


def _lives(
    arena: Arena, role: Role, args: argparse.Namespace, console: Console, folder: Path
) -> None:
    with console.status("lives: kills and restarts"):
        arena.warm_up(role, args.requests)
        found = lives.measure(arena, role, args.kills, args.threads)
    with console.status("lives: growth"):
        grown = lives.growth(arena, role, args.growth_requests, args.threads)
    report.lives(console, found, grown)
    report.write(folder, "lives", {**found.as_dict(), "growth": grown.as_dict()})


def _machine() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPUs, {pages:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} at the start"
    )


if __name__ == "__main__":
    raise SystemExit(main())
