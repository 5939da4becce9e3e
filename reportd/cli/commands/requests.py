"""``reportctl requests``: where is it? The requests of an account, open and ended."""

import argparse
import http.client
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from reportd.broker.admin import Admin
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.cli.finding import end_document, find_ended, partitions_of
from reportd.cli.observing import ask_observer
from reportd.cli.options import add_config_option, asked_record
from reportd.cli.reaching import reach
from reportd.cli.showing import days, duration, harmless, instant, show_json, show_table, watched
from reportd.clock import SystemClock
from reportd.config.load import Config, load
from reportd.config.problems import did_you_mean
from reportd.errors import ConfigError, InvalidMessageError
from reportd.model.account import Account
from reportd.model.question import Question
from reportd.partners.load import load_partners
from reportd.partners.partner import Partner

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

WAITS = {
    "paused": "are paused",
    "scheduled": "wait in Kafka until their days are over",
    "held": "wait in Kafka until their credential works",
}
"""What of a partition's messages nobody has in memory, and why."""


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``requests --account A [--day D] [--partner P] [--report R] [--all] [--json]``."""
    parser = subparsers.add_parser(
        "requests",
        help="where is it? the requests of an account, open and ended",
        description="Show an account's requests: what the open ones wait for and until when, calls "
        "made, files of the ended ones. Open ones are asked of this VM's workers; where another VM "
        "has the partition it is named. Ended ones are looked for in the newest 20,000 records of "
        "each partner's ledger. 1 if nothing is found, and nothing can be where nobody looked.",
        epilog="example: reportctl requests --partner google_ads --account 1234567890 --day"
        " 2026-11-21",
    )
    parser.add_argument("--account", required=True, metavar="A", help="whose")
    parser.add_argument("--day", metavar="DAY", help="that ask for this day (2026-11-21)")
    parser.add_argument("--partner", metavar="P", help="of this partner (default: all)")
    parser.add_argument("--report", default="", metavar="R", help="of this report")
    parser.add_argument("--all", action="store_true", help="look through the whole ledger")
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show them; raises `ConfigError`, `BrokerError`."""
    config = load(args.config)
    partners = load_partners(config.settings.partners_folder)
    if args.partner is not None and args.partner not in partners:
        raise ConfigError(f"no partner {args.partner!r}; {did_you_mean(args.partner, partners)}")
    question = _question(args)
    notes: list[str] = []
    hints: list[str] = []
    opened, unknown = _open(config, question, notes)
    asked = [partners[args.partner]] if args.partner else list(partners.values())
    ended = list(_ended(config, asked, question, unknown, notes, hints, everything=args.all))
    ids = {(one["id"], one["replay"]) for one in ended}
    opened = [one for one in opened if (one["id"], one["replay"]) not in ids]
    if args.json:
        show_json({"open": opened, "ended": ended, "notes": [*notes, *hints]})
    else:
        _show(opened, ended, [*notes, *hints])
    return 0 if opened or ended or hints else 1


def _question(args: argparse.Namespace) -> Question:
    try:
        day = None if args.day is None else date.fromisoformat(args.day)
    except ValueError:
        raise ConfigError(f"--day {args.day}: write it like 2026-11-21") from None
    return asked_record(
        Question, partner=args.partner or "", account=args.account, report=args.report, day=day
    )


def _open(
    config: Config, question: Question, notes: list[str]
) -> tuple[list[dict[str, Any]], dict[tuple[str, int], Mapping[str, Any]]]:
    """Return what this VM's workers know, and what they cannot tell of their partitions."""
    asked = question.model_dump(mode="json", exclude_none=True, exclude={"v"})
    path = f"/requests?{urlencode(asked)}"
    try:
        found = ask_observer(config.settings.metrics, path)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        notes.append(
            f"no observer at {config.settings.metrics.listen} ({harmless(why)}): open requests are"
            " not known; run this on a VM where reportd runs"
        )
        return [], {}
    if found["silent"]:
        notes.append(f"{', '.join(found['silent'])} did not answer: ask again")
    if found["more"]:
        notes.append(f"{found['more']:,} more are open: name a day or a report")
    return found["requests"], {(one["topic"], one["partition"]): one for one in found["partitions"]}


def _ended(
    config: Config,
    partners: Iterable[Partner],
    question: Question,
    known: Mapping[tuple[str, int], Mapping[str, Any]],
    notes: list[str],
    hints: list[str],
    *,
    everything: bool,
) -> Iterator[dict[str, Any]]:
    settings = reach(config.settings.kafka)
    topics = Topics(config.settings.kafka.prefix)
    admin = Admin(settings)
    reader = PartitionReader(settings, group=topics.prefix)
    try:
        counts = admin.topics()
        members = admin.group(topics.prefix).members
        owners = {part: name for name, parts in members.items() for part in parts}
        for partner in partners:
            name = topics.requests(partner.name)
            if name not in counts:
                notes.append(f"{partner.name} has no topics: see 'reportctl topics create'")
                continue
            credential = _credential(reader, topics, partner, question.account)
            parts = partitions_of(partner, counts[name], question.account, credential)
            found = find_ended(
                reader, topics, partner.name, parts, question, everything=everything, watch=watched
            )
            yield from (
                {"partner": partner.name, **end_document(number, end)} for number, end in found.ends
            )
            if found.unread:
                notes.append(
                    f"{partner.name}: {found.unread:,} older records of the ledger were not read:"
                    " --all reads them"
                )
            waiting = admin.end_offsets([part for part in known if part[1] in parts])
            hints += _notes(partner.name, topics, parts, owners, known)
            hints += _unread(waiting, known, partner.name)
    finally:
        reader.close()
        admin.close()


def _notes(
    partner: str,
    topics: Topics,
    parts: Iterable[int],
    owners: Mapping[tuple[str, int], str],
    known: Mapping[tuple[str, int], Mapping[str, Any]],
) -> Iterator[str]:
    """Yield what is not known of open requests, and who knows it."""
    elsewhere: dict[str, list[str]] = {}
    for number in parts:
        part = topics.requests(partner), number
        if part in known:
            for topic in (part[0], topics.backfill(partner)):
                one = known.get((topic, number), {})
                if one.get("parked"):
                    yield f"{topic}[{number}]: {one['parked']:,} more of the account wait for room"
                for name, words in WAITS.items():
                    if count := one.get(name):
                        yield f"{topic}[{number}]: {count:,} of any account {words}"
        elif known or part in owners:
            elsewhere.setdefault(owners.get(part, ""), []).append(f"{part[0]}[{number}]")
    for owner, names in elsewhere.items():
        said = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if owner:
            yield f"{said}: ask on the VM of {harmless(owner)}"
        else:
            yield f"{said}: nobody has it now"


def _unread(
    ends: Mapping[tuple[str, int], int],
    known: Mapping[tuple[str, int], Mapping[str, Any]],
    partner: str,
) -> Iterator[str]:
    """Yield where messages are that no worker has read yet: whose they are nobody knows."""
    for (topic, number), end in sorted(ends.items()):
        count = end - (known[topic, number].get("position") or 0)
        if count > 0 and topic.endswith(f".{partner}"):
            yield f"{topic}[{number}]: {count:,} messages are not read yet, it may be among them"


def _credential(
    reader: PartitionReader, topics: Topics, partner: Partner, account: str
) -> str | None:
    """Return the account's credential as the last enqueue saw it, where the key needs it."""
    if partner.key_scope != "credential":
        return None
    key = f"{partner.name}/{account}".encode()
    found = None
    for message in reader.read_all(topics.accounts):
        if message.key == key and message.value:
            with suppress(InvalidMessageError):
                found = Account.from_json(message.value).credential
    return found


def _show(opened: list[dict[str, Any]], ended: list[dict[str, Any]], notes: Iterable[str]) -> None:
    now = SystemClock().wall()
    if opened:
        show_table(
            ("open", "report", "days", "run", "state", "why", "until", "calls", "for", "where"),
            (
                (
                    one["partner"],
                    one["report"],
                    days(one["first_day"], one["last_day"]),
                    one["run"],
                    one["state"].replace("_", " "),
                    one["why"],
                    instant(one["until"]),
                    one["calls"],
                    duration(max(0.0, now - one["enqueued_at"])),
                    f"{one['topic']}[{one['partition']}] @{one['offset']}, {one['worker']}",
                )
                for one in opened
            ),
        )
    if ended:
        show_table(
            ("ended", "report", "days", "run", "state", "at", "rows", "calls", "files", "id"),
            (
                (
                    one["partner"],
                    one["report"],
                    days(one["days"][0], one["days"][-1]) if one["days"] else "",
                    one["run"],
                    one["state"] + (f": {one['why']}" if one["why"] else ""),
                    instant(one["ended_at"]),
                    one["rows"],
                    one["calls"],
                    _few(one["files"]),
                    one["id"],
                )
                for one in ended
            ),
        )
    if not opened and not ended:
        print("nothing is found")
    for note in notes:
        print(note)


def _few(files: Sequence[str]) -> str:
    """Return the first file, and how many more there are; ``--json`` names all."""
    more = len(files) - 1
    return "" if not files else files[0] + (f" and {more} more" if more else "")
