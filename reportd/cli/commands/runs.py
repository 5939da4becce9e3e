"""``reportctl runs``: the runs, how they went, and what is missing of one."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reportd.broker.admin import Admin
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.cli.missing import died_of, missing_in
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.run_names import KnownRuns, RunName
from reportd.cli.showing import days, duration, harmless, instant, show_json, show_table
from reportd.config.load import Config, load
from reportd.enqueue.runs import RunState
from reportd.errors import ConfigError, OutputError
from reportd.model.run import Finished
from reportd.observer.offsets import Offsets, look
from reportd.observer.runs import open_at_most

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

SHOWN = 20
NAMED = 20
"""So many requests that a run lacks are named on a terminal."""


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``runs [RUN] [--all] [--json]``."""
    parser = subparsers.add_parser(
        "runs",
        help="list the runs, or show one",
        description=f"List the newest {SHOWN} runs; or show what one has brought and what is "
        "missing, by report, and whose requests are missing: as its file at the output says, or, "
        "while it is open, what has died of it so far.",
        epilog="example: reportctl runs daily/2026-11-22T04:00Z#1",
    )
    add_config_option(parser)
    parser.add_argument(
        "name",
        metavar="RUN",
        nargs="?",
        help="show this one; without #1: the newest revision of that slot",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"list all that are known; of one, name all that is missing (not {NAMED})",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show them; raises `BrokerError`, and `ConfigError` for a run that there is not."""
    config = load(args.config)
    wanted = None if args.name is None else RunName.parse(args.name)
    kafka = config.settings.kafka
    settings, topics = reach(kafka), Topics(kafka.prefix)
    reader, admin = PartitionReader(settings, group=kafka.prefix), Admin(settings)
    try:
        known = KnownRuns()
        known.see(reader.read_all(topics.runs))
        over, states = known.finished(), known.states()
        if wanted is None:
            offsets = look(admin, topics, kafka.prefix)
            chosen = list(states.items())[0 if args.all else -SHOWN :]
            _list([_row(state, over.get(name), offsets) for name, state in chosen], args)
            return 0
        found = known.named(wanted)
        if found is None:
            raise ConfigError(f"{args.name}: there is no such run; 'reportctl runs' lists them")
        finished = over.get(found)
        row = _row(states[found], finished, look(admin, topics, kafka.prefix))
        if finished is None:
            _show_open(row, died_of(str(found), reader, admin, topics), args)
        else:
            _show_over(row, finished, args, config)
    finally:
        reader.close()
        admin.close()
    return 0


def _row(state: RunState, finished: Finished | None, offsets: Offsets) -> dict[str, Any]:
    manifest = state.manifest
    found: dict[str, Any] = {
        "run": str(state.run),
        "state": "enqueuing",
        "requests": None,
        "open_at_most": None,
        "missing": None,
        "deadline": None,
        "enqueued_at": None,
        "finished_at": None,
    }
    if manifest is not None:
        left = open_at_most(manifest, offsets)
        found |= {
            "state": "open" if left else "ending",
            "requests": manifest.requests,
            "open_at_most": left,
            "deadline": manifest.deadline,
            "enqueued_at": manifest.enqueued_at,
        }
    if finished is not None:
        found |= {
            "state": finished.state,
            "open_at_most": 0,
            "missing": sum(one.missing for one in finished.reports.values()),
            "finished_at": finished.finished_at,
        }
    return found


def _list(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    if args.json:
        show_json(rows)
        return
    if not rows:
        print("no run yet: 'reportd-enqueue SCHEDULE' makes one")
        return
    show_table(
        ("run", "state", "requests", "open at most", "days missing", "deadline", "over"),
        (
            (
                row["run"],
                row["state"],
                row["requests"],
                row["open_at_most"],
                row["missing"],
                instant(row["deadline"]),
                instant(row["finished_at"]),
            )
            for row in rows
        ),
        empty="no run yet: the first comes with 'reportd-enqueue SCHEDULE'",
    )


def _show_open(
    row: Mapping[str, Any], died: list[dict[str, Any]], args: argparse.Namespace
) -> None:
    if args.json:
        show_json({**row, "died": died})
        return
    _say_first(row)
    if row["requests"] is None:
        print("  it is being enqueued: how much it is going to be is not known yet")
    else:
        print(f"  at most {row['open_at_most']:,} of {row['requests']:,} requests open")
    _name(died, "died so far", args)


def _show_over(
    row: Mapping[str, Any], finished: Finished, args: argparse.Namespace, config: Config
) -> None:
    output, trouble, missing = config.settings.output, "", None
    if finished.state == "partial":
        try:
            missing = missing_in(finished, output)
        except OutputError as error:
            trouble = f"whose requests are missing cannot be read here: {error}"
    if args.json:
        show_json({**row, **finished.model_dump(), "missing_requests": missing})
        return
    _say_first(row)
    print(f"  over {instant(finished.finished_at)}{_late(finished)}")
    print("  " + ", ".join(f"{count:,} {state}" for state, count in finished.states.items()))
    print(f"  {output.root}/{finished.file}")
    show_table(
        ("report", "expected", "missing", "provisional", "files", "unchanged", "rows", "bytes"),
        ((name, *one.model_dump().values()) for name, one in finished.reports.items()),
    )
    _name(missing or (), "missing", args)
    if trouble:
        print(harmless(trouble), file=sys.stderr)
    if finished.state == "partial":
        print(
            f"what died: reportctl dead list --run '{finished.run}'; mend it with"
            f" reportctl dead replay --run '{finished.run}'",
            file=sys.stderr,
        )


def _say_first(row: Mapping[str, Any]) -> None:
    print(f"{row['run']}: {row['state']}")
    enqueued = instant(row["enqueued_at"]) or "not yet"
    print(f"  enqueued {enqueued}, deadline {instant(row['deadline']) or 'none'}")


def _name(requests: Sequence[Mapping[str, Any]], what: str, args: argparse.Namespace) -> None:
    """Name requests that have brought nothing."""
    if not requests:
        return
    shown = requests if args.all else requests[:NAMED]
    show_table(
        (what, "account", "days", "why", "id"),
        (
            (
                f"{one['partner']}.{one['report']}",
                one["account"] or "(not known)",
                days(one["first_day"], one["last_day"]) if "first_day" in one else "",
                one["why"],
                one["id"],
            )
            for one in shown
        ),
    )
    if len(shown) < len(requests):
        print(f"{len(requests) - len(shown):,} more: --all names them", file=sys.stderr)


def _late(finished: Finished) -> str:
    if finished.deadline is None or finished.finished_at <= finished.deadline:
        return ""
    return f", {duration(finished.finished_at - finished.deadline)} late"
