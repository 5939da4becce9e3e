"""``reportctl runs``: the runs, how they went, and what is missing of one."""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reportd.broker.admin import Admin
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.cli.options import add_config_option
from reportd.cli.run_names import KnownRuns, RunName
from reportd.cli.showing import duration, instant, show_json, show_table
from reportd.config.load import Config, load
from reportd.enqueue.runs import RunState
from reportd.errors import ConfigError
from reportd.model.run import Finished
from reportd.observer.offsets import Offsets, look
from reportd.observer.runs import open_at_most

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

SHOWN = 20


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``runs [RUN] [--all] [--json]``."""
    parser = subparsers.add_parser(
        "runs",
        help="list the runs, or show one",
        description=f"List the newest {SHOWN} runs; or show what one has brought and what is "
        "missing, by report.",
        epilog="example: reportctl runs daily/2026-11-22T04:00Z#1",
    )
    add_config_option(parser)
    parser.add_argument("name", metavar="RUN", nargs="?", help="show this one, by report")
    parser.add_argument("--all", action="store_true", help="list all that are known")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show them; raises `BrokerError`, and `ConfigError` for a run that there is not."""
    config = load(args.config)
    known, offsets = _asked(config)
    over = known.finished()
    states = known.states()
    if args.name is None:
        chosen = list(states.items())[0 if args.all else -SHOWN :]
        _list([_row(state, over.get(name), offsets) for name, state in chosen], args)
        return 0
    found = known.named(RunName.parse(args.name))
    if found is None:
        raise ConfigError(f"{args.name}: there is no such run; 'reportctl runs' lists them")
    _show(_row(states[found], over.get(found), offsets), over.get(found), args, config)
    return 0


def _asked(config: Config) -> tuple[KnownRuns, Offsets]:
    kafka = config.settings.kafka
    settings, topics = client_settings(kafka), Topics(kafka.prefix)
    reader = PartitionReader(settings, group=kafka.prefix)
    known = KnownRuns()
    try:
        known.see(reader.read_all(topics.runs))
    finally:
        reader.close()
    return known, look(Admin(settings), topics, kafka.prefix)


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
    )


def _show(
    row: Mapping[str, Any], finished: Finished | None, args: argparse.Namespace, config: Config
) -> None:
    if args.json:
        show_json({**row, **(finished.model_dump() if finished is not None else {})})
        return
    print(f"{row['run']}: {row['state']}")
    print(
        f"  enqueued {instant(row['enqueued_at'])}, deadline {instant(row['deadline']) or 'none'}"
    )
    if finished is None:
        print(f"  at most {row['open_at_most'] or 0:,} of {row['requests'] or 0:,} requests open")
        return
    late = _late(finished)
    print(f"  over {instant(finished.finished_at)}{late}")
    print("  " + ", ".join(f"{count:,} {state}" for state, count in finished.states.items()))
    print(f"  {config.settings.output.root}/{finished.file}")
    show_table(
        ("report", "expected", "missing", "provisional", "files", "unchanged", "rows", "bytes"),
        ((name, *one.model_dump().values()) for name, one in finished.reports.items()),
    )
    if finished.state == "partial":
        print(
            f"what died: reportctl dead list --run '{finished.run}'; mend it with"
            f" reportctl dead replay --run '{finished.run}'",
            file=sys.stderr,
        )


def _late(finished: Finished) -> str:
    if finished.deadline is None or finished.finished_at <= finished.deadline:
        return ""
    return f", {duration(finished.finished_at - finished.deadline)} late"
