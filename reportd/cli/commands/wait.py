"""``reportctl wait``: let a job start when a run is over. For Airflow, and for scripts."""

import argparse
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from reportd.broker.message import Message
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.cli.options import add_config_option
from reportd.cli.run_names import KnownRuns, RunName
from reportd.cli.showing import harmless, show_json
from reportd.clock import Clock, SystemClock
from reportd.config.load import load
from reportd.errors import EXIT_PARTIAL, EXIT_TIMEOUT, BrokerError
from reportd.model.run import Finished
from reportd.observer.clients import TopicMailbox

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""How long one question to the broker may take: so much later than asked for it may give up."""


class Mailbox(Protocol):
    """Where records come from (`reportd.observer.clients.TopicMailbox`)."""

    def new(self) -> list[Message]: ...  # noqa: D102  # see there


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``wait RUN [--timeout SECONDS] [--json]``."""
    parser = subparsers.add_parser(
        "wait",
        help="wait until a run is over",
        description="Wait until all requests of a run have ended and its file and marks stand at "
        "the output. Status 0: it is complete; 3: something is missing; 4: it is not over in time, "
        "or not even enqueued. While Kafka does not answer, it says so and goes on waiting.",
        epilog="example: reportctl wait daily/2026-11-22T04:00Z --timeout 10800",
    )
    add_config_option(parser)
    parser.add_argument(
        "name",
        metavar="RUN",
        help="daily/2026-11-22T04:00Z#1; without #1: the newest revision of that slot",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=float("inf"),
        metavar="SECONDS",
        help="give up waiting (default: never)",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Wait; raises `ConfigError` for what is no run's name."""
    name = RunName.parse(args.name)
    kafka = load(args.config).settings.kafka
    reader = PartitionReader(
        client_settings(kafka), group=kafka.prefix, timeout_seconds=ANSWER_SECONDS
    )
    pause = threading.Event().wait  # nothing ever sets it: a bounded wait
    try:
        mailbox = TopicMailbox(reader, Topics(kafka.prefix).runs)
        return waited(name, mailbox, args.timeout, SystemClock(), pause, as_json=args.json)
    finally:
        reader.close()


def waited(
    name: RunName,
    mailbox: Mailbox,
    seconds: float,
    clock: Clock,
    pause: Callable[[float], object],
    *,
    as_json: bool,
) -> int:
    """Wait for so many seconds at most; say what came, and return the exit status."""
    deadline = clock.monotonic() + seconds
    known, trouble, is_said = KnownRuns(), "", False
    while True:
        before, trouble = trouble, _look(mailbox, known)
        if bool(trouble) != bool(before):
            said = f"Kafka does not answer: {trouble}; still waiting" if trouble else "it answers"
            print(harmless(said), file=sys.stderr, flush=True)
        found = known.named(name)
        finished = known.finished().get(found) if found is not None else None
        if finished is not None:
            _say(finished, as_json=as_json)
            return 0 if finished.state == "complete" else EXIT_PARTIAL
        if found is None and not trouble and not is_said:
            is_said = True
            schedules = ", ".join(sorted({run.schedule for run in known.states()})) or "none"
            print(
                f"{name} is not enqueued yet, waiting; there are runs of: {schedules}",
                file=sys.stderr,
                flush=True,
            )
        left = deadline - clock.monotonic()
        if left <= 0:
            what = f"{name} is not enqueued yet" if found is None else f"{found} is not over yet"
            if trouble:
                what = f"{found or name}: not known, Kafka does not answer"
            if as_json:
                show_json({"run": str(found or name), "state": None})
            else:
                print(what)
            return EXIT_TIMEOUT
        pause(min(LOOK_SECONDS, left))


def _look(mailbox: Mailbox, known: KnownRuns) -> str:
    """Take what has come; return why nothing could."""
    try:
        known.see(mailbox.new())
    except BrokerError as error:
        return str(error)
    return ""


def _say(finished: Finished, *, as_json: bool) -> None:
    if as_json:
        show_json(finished.model_dump())
        return
    missing = sum(covered.missing for covered in finished.reports.values())
    print(
        f"{finished.run} is {finished.state}"
        + (f": {missing:,} account-days are missing, see {finished.file}" if missing else "")
    )
