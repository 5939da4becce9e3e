"""``reportd-enqueue``: write a schedule's requests to Kafka. Parses, calls, prints; nothing else.

Started by the schedule's timer, or by hand. Exit status: 0 done (or nothing to do), 78 something
asked for is wrong, 75 something outside is not there yet.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from reportd import log
from reportd.cli.options import add_config_option
from reportd.cli.outlook import add_call_seconds, outlook_of, show_rows, verdict
from reportd.config.load import load
from reportd.enqueue.job import Order, Outcome
from reportd.enqueue.plan import Tally
from reportd.errors import (
    EXIT_CONFIG,
    EXIT_UNAVAILABLE,
    ConfigError,
    ReportdError,
    UnavailableError,
)
from reportd.partners.load import load_partners

NO_PYSPARK = (
    "PySpark is not installed here: install reportd with its extra (in the checkout: pip install "
    "'.[enqueue]')"
)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    root = argparse.ArgumentParser(
        prog="reportd-enqueue",
        description="Write a schedule's requests to Kafka: every slot since the last one that is"
        " complete. Starting it again adds nothing that is already there.",
    )
    root.add_argument("schedule", metavar="SCHEDULE", help="the schedule's name, or its file")
    add_config_option(root)
    root.add_argument(
        "--slot",
        type=_instant,
        metavar="TIME",
        help="enqueue this slot alone, like 2026-11-22T04:00Z",
    )
    root.add_argument(
        "--add",
        action="store_true",
        help="enqueue what the accounts table has gained since, though the slot is complete",
    )
    root.add_argument(
        "--dry-run", action="store_true", help="say what would be written, and write nothing"
    )
    root.add_argument(
        "--plan",
        action="store_true",
        help="play it on a virtual clock: how long it takes and which limit binds; write nothing",
    )
    add_call_seconds(root)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Enqueue; return the exit status."""
    args = parser().parse_args(argv)
    log.setup(process="enqueue")
    order = Order(
        slot=args.slot, add=args.add, dry_run=args.dry_run or args.plan, with_accounts=args.plan
    )
    try:
        from reportd.enqueue.compose import enqueue  # noqa: PLC0415  # brings PySpark
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyspark":
            raise
        return _say(ConfigError(NO_PYSPARK), EXIT_CONFIG)
    try:
        outcomes = enqueue(args.config, args.schedule, order)
    except ConfigError as error:
        return _say(error, EXIT_CONFIG)
    except UnavailableError as error:
        return _say(error, EXIT_UNAVAILABLE)
    except ReportdError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130
    for outcome in outcomes:
        print("\n".join(_lines(outcome)))
        if args.plan:
            _show_plan(outcome, args)
    if not outcomes:
        print(f"{args.schedule}: no slot has passed yet")
    return 0


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be like 2026-11-22T04:00Z") from None
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"needs its offset: {text}Z, or {text}+01:00")
    return found


def _lines(outcome: Outcome) -> list[str]:
    if outcome.manifest is None:
        return [f"{outcome.run}: {outcome.requests} requests would be written"] + [
            _tally(tally) for tally in outcome.tallies
        ]
    if not outcome.written:
        return [f"{outcome.run}: complete, {outcome.requests} requests"]
    return [f"{outcome.run}: {outcome.requests} requests, {outcome.written} written now"]


def _show_plan(outcome: Outcome, args: argparse.Namespace) -> None:
    """Print what a run comes to, were it enqueued now."""
    if outcome.plan is None:
        return
    config = load(args.config)
    partners = load_partners(config.settings.partners_folder)
    now, threads = datetime.now(UTC), config.settings.workers.threads
    outlooks = [
        outlook_of(outcome.plan, partners[name], outcome.accounts, now, threads)
        for name in dict.fromkeys(ask.partner for ask in outcome.plan.asks)
    ]
    rows = [outlook.row(args.call_seconds) for outlook in outlooks]
    show_rows(rows)
    print(verdict(str(outcome.run), rows, now, outcome.deadline))


def _tally(tally: Tally) -> str:
    ask = tally.ask
    days = str(tally.first_day)
    if tally.last_day != tally.first_day:
        days += f"..{tally.last_day}"
    return (
        f"  {ask.name}: {tally.accounts} accounts, {days}, {ask.class_}, {','.join(ask.formats)}"
        f" -> {ask.topic}, key = {ask.key_scope}"
    )


def _say(error: ReportdError, status: int) -> int:
    print(error, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
