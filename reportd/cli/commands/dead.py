"""``reportctl dead``: look at dead letters, send them on their way again, or drop them."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from reportd.broker.admin import Admin
from reportd.broker.keys import partition_of
from reportd.broker.letters import (
    DeadLetter,
    dropped_headers,
    replay_headers,
    replayed_headers,
)
from reportd.broker.message import Part
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import Topics
from reportd.cli.letters import RECENT_RECORDS, LetterBox, Letters
from reportd.cli.mending import Mendings
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.run_names import RunName
from reportd.cli.showing import (
    harmless,
    instant,
    show_json,
    show_json_list,
    show_long_table,
)
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.errors import BrokerError, ConfigError, InvalidMessageError
from reportd.model.run import RunId
from reportd.partners.load import has_file

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

FILTERS = ("partner", "account", "report", "run", "error", "id")
CONFIRM_SECONDS = 60.0
NO_PARTNERS = "names no topic of a partner"
GONE = "its topic is gone"
NO_FILE = "its partner has no file: nobody would read it"
CUT = "too large to be copied: its letter has its beginning alone"
EVERY_REVISION = "; without #1: of every revision of its slot"
READS = "Without --run the whole topic is read, whatever the filters."


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``dead list``, ``dead show``, ``dead replay`` and ``dead drop``."""
    parser = subparsers.add_parser("dead", help="look at dead letters, replay or drop them")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="list dead letters, the oldest first",
        description="List dead letters, the oldest first, without those that were replayed or "
        f"dropped. The newest {RECENT_RECORDS:,} records are looked through; of a run (--run) all "
        "that came after its slot.",
        epilog="example: reportctl dead list --partner google_ads --error permanent",
    )
    _add_filters(listing)
    listing.add_argument(
        "--replayed", action="store_true", help="those that were replayed since, too"
    )
    listing.add_argument("--dropped", action="store_true", help="those that were dropped, too")
    listing.add_argument("--all", action="store_true", help="look through the whole topic")
    listing.set_defaults(act=_list)
    showing = actions.add_parser(
        "show",
        help="show one with its original bytes",
        description="Show one with its original bytes and the beginning of the answer.",
        epilog="example: reportctl dead show 3f9a0c",
    )
    add_config_option(showing)
    showing.add_argument("id", metavar="ID", help="the request's id, or its beginning")
    showing.add_argument("--json", action="store_true", help="for programs")
    showing.set_defaults(act=_show)
    replaying = actions.add_parser(
        "replay",
        help="send the original requests again",
        description="Send requests to their topics again, as they were. Those that were replayed "
        "or dropped before are left out, and so are those whose topic or partner is gone, or whose "
        "letter has the beginning of a message alone: how many is said, and --json has them with "
        f"'left_out', why. {READS}",
        epilog="example: reportctl dead replay --partner google_ads --error auth --dry-run",
    )
    _add_filters(replaying)
    _add_choice(replaying)
    replaying.set_defaults(act=_replay)
    dropping = actions.add_parser(
        "drop",
        help="note that nobody has to look at them any more",
        description="Leave letters out of the list, and of replays. Their bytes stay for as long "
        f"as the topic keeps them: 'dead list --dropped' shows them. {READS}",
        epilog="example: reportctl dead drop --account 1234567890 --dry-run",
    )
    _add_filters(dropping)
    _add_choice(dropping)
    dropping.set_defaults(act=_drop)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    for name in FILTERS:
        parser.add_argument(
            f"--{name}",
            dest=_asked(name),
            metavar=name.upper(),
            help=f"of this {name} alone" + EVERY_REVISION * (name == "run"),
        )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every one: no filter is needed")
    parser.add_argument("--dry-run", action="store_true", help="only say which")


def _asked(name: str) -> str:
    return f"asked_{name}"  # ``args.run`` is the command


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the letters lie, and what it takes to read and to write."""

    settings: ClientSettings
    topics: Topics
    box: LetterBox
    admin: Admin
    partners_folder: Path

    def partner_of(self, letter: DeadLetter) -> str:
        """Return the partner whose topic it comes from; empty if that is none."""
        parsed = self.topics.parse(letter.topic)
        return parsed[1] if parsed is not None and parsed[0] != "ledger" else ""


@contextmanager
def _place(args: argparse.Namespace) -> Iterator[_Place]:
    config = load(args.config).settings
    kafka, folder = config.kafka, config.partners_folder
    settings, topics = reach(kafka), Topics(kafka.prefix)
    reader, admin = PartitionReader(settings, group=kafka.prefix), Admin(settings)
    try:
        yield _Place(settings, topics, LetterBox(topics, reader, admin), admin, folder)
    finally:
        reader.close()
        admin.close()


def _found(args: argparse.Namespace, place: _Place, *, everything: bool) -> Letters:
    asked = {name: getattr(args, _asked(name)) for name in FILTERS}
    run = RunName.parse(asked.pop("run")) if asked["run"] is not None else None

    def fits(letter: DeadLetter) -> bool:
        of_letter = {name: getattr(letter, name, "") for name in FILTERS}
        of_letter["partner"] = place.partner_of(letter)
        same = all(value is None or of_letter[name] == value for name, value in asked.items())
        return same and (run is None or _is_of(letter, run))

    return place.box.find(fits, None if run is None else str(run.first), everything=everything)


def _is_of(letter: DeadLetter, run: RunName) -> bool:
    try:
        return run.fits(RunId.parse(letter.run))
    except InvalidMessageError:  # one that could not be read tells no run
        return False


def _list(args: argparse.Namespace) -> int:
    with _place(args) as place:
        found = _found(args, place, everything=args.all)
        kept = [
            one
            for one in found.places
            if (args.replayed or not one.replayed) and (args.dropped or not one.dropped)
        ]
        _say(replace(found, places=kept), place, as_json=args.json)
    if found.unread:
        words = f"{found.unread:,} older records were not read: --all or --run reads them"
        print(words, file=sys.stderr)
    return 0


def _show(args: argparse.Namespace) -> int:
    with _place(args) as place:
        found = place.box.named(args.id)
        if not found:
            raise ConfigError(f"there is no dead letter {args.id}")
        if len({letter.id for letter in found}) > 1:
            raise ConfigError(f"{args.id} is the beginning of several ids; write more of it")
        letter = found[-1]
    if args.json:
        show_json({**_json(letter, place), **_bytes_json(letter)})
        return 0
    for name, value in _json(letter, place).items():
        print(f"{name + ':':<10} {harmless(str(value))}")
    print(f"died:      {instant(letter.died_at)}")
    if len(found) > 1:
        print(f"before:    {', '.join(harmless(each.reason) for each in found[:-1])}")
    bytes_are = "the request's bytes"
    if letter.cut_from:
        bytes_are = f"the beginning of its {letter.cut_from:,} bytes, all of which lie in its topic"
    print(f"\n{bytes_are}:")
    print(_pretty(letter.value))
    if letter.sample:
        print("\nthe beginning of the partner's answer:")
        print(_pretty(letter.sample))
    return 0


def _chosen(args: argparse.Namespace, place: _Place) -> Letters:
    """Return what is meant and not settled; raises `ConfigError` if nothing was chosen."""
    if not args.all and all(getattr(args, _asked(name)) is None for name in FILTERS):
        raise ConfigError("say which: --partner, --report, --error ..., or --all")
    found = _found(args, place, everything=True)
    return replace(found, places=[one for one in found.places if not one.is_settled])


def _drop(args: argparse.Namespace) -> int:
    with _place(args) as place:
        found = _chosen(args, place)
        if not args.dry_run:
            _note_dropped(found, place)
        _say(found, place, as_json=args.json)
        if not args.json:
            print(f"{len(found):,} {'would be dropped' if args.dry_run else 'dropped'}")
    return 0


def _note_dropped(letters: Letters, place: _Place) -> None:
    producer = Producer(place.settings)
    failures: list[BrokerError] = []

    def check(done: int | BrokerError) -> None:
        if isinstance(done, BrokerError):
            failures.append(done)

    for letter in place.box.read(letters):
        producer.send(
            place.topics.dead, b"", key=letter.key, headers=dropped_headers(letter), on_done=check
        )
        producer.poll()
    _flush(producer, failures)


def _flush(producer: Producer, failures: list[BrokerError]) -> None:
    left = producer.flush(CONFIRM_SECONDS)
    if failures:
        raise failures[0]
    if left:
        raise BrokerError(f"{left} records are not confirmed; start it again: none runs twice")


def _replay(args: argparse.Namespace) -> int:
    with _place(args) as place:
        chosen = _chosen(args, place)
        counts = place.admin.topics()
        divided = _divided(chosen, place, counts)
        found, left_out = divided.found, divided.left_out
        if not args.dry_run:
            _send(divided, place, counts)
        if args.json:
            show_json_list(
                {**_json(letter, place), "left_out": why}
                for letters, why in [(found, None), *left_out]
                for letter in place.box.read(letters)
            )
            return 0
        _say(found, place, as_json=False)
        print(f"{len(found):,} {'would be replayed' if args.dry_run else 'replayed'}")
        for letters, why in left_out:
            print(f"{len(letters):,} left out: {why}")
    return 0


@dataclass(frozen=True, slots=True)
class _Divided:
    """What can be sent, and what cannot."""

    found: Letters
    parts: Mapping[str, Set[Part]]
    """By run: where they will lie."""
    left_out: Sequence[tuple[Letters, str]]
    """With why."""


def _divided(chosen: Letters, place: _Place, counts: Mapping[str, int]) -> _Divided:
    whys: dict[int, str] = {}
    parts: dict[str, set[Part]] = {}
    for letter in place.box.read(chosen):
        whys[letter.lies_at[1]] = why = _why_not(letter, place, counts)
        if not why:
            parts.setdefault(letter.run, set()).add(_target(letter, counts))

    def of(why: str) -> Letters:
        return replace(chosen, places=[one for one in chosen.places if whys.get(one.offset) == why])

    left_out = [(letters, why) for why in (GONE, NO_PARTNERS, NO_FILE, CUT) if (letters := of(why))]
    return _Divided(of(""), parts, left_out)


def _why_not(letter: DeadLetter, place: _Place, counts: Mapping[str, int]) -> str:
    if not place.partner_of(letter):
        return NO_PARTNERS
    if letter.topic not in counts:
        return GONE
    if not has_file(place.partners_folder, place.partner_of(letter)):
        return NO_FILE
    return CUT if letter.cut_from else ""


def _send(divided: _Divided, place: _Place, counts: Mapping[str, int]) -> None:
    """Send the requests, then note in ``dead`` that it was done; raises `BrokerError`."""
    producer = Producer(place.settings)
    failures: list[BrokerError] = []
    mendings = Mendings(place.admin, producer, place.topics.runs, SystemClock())
    mendings.begin(divided.parts)

    def note(letter: DeadLetter, part: Part, done: int | BrokerError) -> None:
        if isinstance(done, BrokerError):
            failures.append(done)
            return
        mendings.sent(letter, part, done)
        producer.send(
            place.topics.dead,
            b"",
            key=letter.key,
            headers=replayed_headers(letter),
            on_done=check,
        )

    def check(done: int | BrokerError) -> None:
        if isinstance(done, BrokerError):
            failures.append(done)

    for letter in place.box.read(divided.found):
        part = _target(letter, counts)
        producer.send(
            letter.topic,
            letter.value,
            key=letter.key,
            partition=part[1],
            headers=replay_headers(letter),
            on_done=partial(note, letter, part),
        )
        producer.poll()
    _flush(producer, failures)
    mendings.end()


def _target(letter: DeadLetter, counts: Mapping[str, int]) -> Part:
    partitions = counts[letter.topic]
    if letter.key is None:
        return letter.topic, letter.partition % partitions
    return letter.topic, partition_of(letter.key, partitions)


def _say(letters: Letters, place: _Place, *, as_json: bool) -> None:
    found = place.box.read(letters)
    if as_json:
        show_json_list(_json(letter, place) for letter in found)
        return
    show_long_table(
        ("died", "partner", "account", "report", "run", "error", "reason", "calls", "id", ""),
        (
            (
                instant(letter.died_at),
                place.partner_of(letter),
                letter.account or f"(offset {letter.offset})",
                letter.report,
                letter.run,
                letter.error,
                letter.reason,
                letter.attempts,
                letter.id,
                "dropped" if letter.dropped else "replayed" if letter.replayed else "",
            )
            for letter in found
        ),
        empty="no dead letter fits; those that were replayed or dropped are shown if asked for",
    )


def _json(letter: DeadLetter, place: _Place) -> dict[str, object]:
    return {
        "id": letter.id,
        "replay": letter.replay,
        "partner": place.partner_of(letter),
        "account": letter.account,
        "report": letter.report,
        "run": letter.run,
        "error": letter.error,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "answer": letter.answer,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "died_at": letter.died_at,
        "replayed": letter.replayed,
        "dropped": letter.dropped,
    }


def _bytes_json(letter: DeadLetter) -> dict[str, object]:
    return {
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "value": letter.value.decode(errors="backslashreplace"),
        "cut_from": letter.cut_from or None,
        "sample": letter.sample.decode(errors="backslashreplace"),
    }


def _pretty(data: bytes) -> str:
    """Return JSON indented, anything else line by line; nothing that a terminal acts upon."""
    with suppress(orjson.JSONDecodeError):
        data = orjson.dumps(orjson.loads(data), option=orjson.OPT_INDENT_2)
    lines = data.decode(errors="backslashreplace").split("\n")
    return "\n".join(harmless(line) for line in lines)
