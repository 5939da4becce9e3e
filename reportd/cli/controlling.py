"""The topic ``control`` as ``pause``, ``slow``, ``resume``, ``cancel`` and ``controls`` use it."""

import argparse
import getpass
import re
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Literal, Self

from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.cli.known_accounts import known_accounts
from reportd.cli.options import add_config_option, asked_record
from reportd.cli.reaching import reach
from reportd.cli.showing import harmless, instant
from reportd.clock import Clock, SystemClock
from reportd.config.load import Config
from reportd.config.problems import did_you_mean
from reportd.errors import BrokerError, ConfigError, InvalidMessageError
from reportd.model.control import Control, Target, folded, read_control
from reportd.observer.screen import CONTROL_WORDS
from reportd.partners.load import load_partners

CONFIRM_SECONDS = 10.0
SECONDS_OF = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
SCOPE_HELP = "PARTNER, PARTNER/ACCOUNT, PARTNER.REPORT or class:backfill"


class Desk:
    """Reads and writes controls."""

    def __init__(self, config: Config) -> None:
        """Make the clients; raises `BrokerError` where no Kafka can be reached."""
        kafka = config.settings.kafka
        self._settings = reach(kafka)
        self.topics = Topics(kafka.prefix)
        self.reader = PartitionReader(
            self._settings, group=kafka.prefix, timeout_seconds=CONFIRM_SECONDS
        )

    @classmethod
    @contextmanager
    def open(cls, config: Config) -> Iterator[Self]:
        """Give one, and close it."""
        desk = cls(config)
        try:
            yield desk
        finally:
            desk.reader.close()

    def asked(self) -> dict[str, Control]:
        """Return what is asked for by scope, what has ended by itself included."""
        part = (self.topics.control, 0)
        found: list[tuple[str, Control | None]] = []
        for message in self.reader.read(part, *self.reader.watermarks(part)):
            with suppress(InvalidMessageError):
                found.append(read_control(message.key, message.value))
        return folded(found)

    def accounts(self, partner: str) -> Collection[str]:
        """Return the accounts of a partner that the last enqueue saw."""
        return known_accounts(self._settings, self.topics, partner)

    def write(self, scope: str, control: Control | None) -> None:
        """Ask for something, or for nothing any more; raises `BrokerError` if it is not there."""
        outcome: list[int | BrokerError] = []
        producer = Producer(self._settings)
        value = b"" if control is None else control.to_json()
        producer.send(
            self.topics.control, value, key=scope.encode(), partition=0, on_done=outcome.append
        )
        producer.flush(CONFIRM_SECONDS)
        if not outcome:
            raise BrokerError(f"{self.topics.control}: no answer in {CONFIRM_SECONDS:g} s")
        if isinstance(outcome[0], BrokerError):
            raise outcome[0]


def add_control_options(parser: argparse.ArgumentParser, *, ends: bool = True) -> None:
    """Add who, why, and until when."""
    if ends:
        end = parser.add_mutually_exclusive_group()
        end.add_argument(
            "--until", metavar="TIME", help="an instant (2026-11-28T06:00, local time)"
        )
        end.add_argument(
            "--for", dest="lasts", metavar="DURATION", help="90s, 30min, 2h or 3d from now"
        )
    parser.add_argument("--reason", default="", metavar="TEXT", help="why: others will ask")
    parser.add_argument("--who", default=None, metavar="NAME", help="who asks (default: user@host)")
    add_config_option(parser)


def known_target(scope: str, config: Config) -> Target:
    """Return what a scope is about; raises `ConfigError` if nobody here has that."""
    try:
        target = Target.parse(scope)
    except InvalidMessageError as error:
        raise ConfigError(str(error)) from None
    if target.kind == "run":
        raise ConfigError(f"{target.value} is a run: see 'reportctl cancel'")
    partners = load_partners(config.settings.partners_folder)
    if target.partner and target.partner not in partners:
        raise ConfigError(
            f"there is no partner {target.partner!r}; {did_you_mean(target.partner, partners)}"
        )
    if target.kind == "report" and target.value not in partners[target.partner].reports:
        reports = partners[target.partner].reports
        raise ConfigError(
            f"{target.partner} has no report {target.value!r};"
            f" {did_you_mean(target.value, reports)}"
        )
    return target


def end_of(args: argparse.Namespace, clock: Clock) -> float | None:
    """Return when it ends by itself (epoch seconds); raises `ConfigError`."""
    if args.lasts is not None:
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h|d)", args.lasts)
        if found is None or float(found[1]) <= 0:
            raise ConfigError(f"--for {args.lasts}: write 90s, 30min, 2h or 3d")
        return clock.wall() + float(found[1]) * SECONDS_OF[found[2]]
    if args.until is None:
        return None
    try:
        until = datetime.fromisoformat(args.until).astimezone().timestamp()
    except ValueError:
        raise ConfigError(
            f"--until {args.until}: write an instant like 2026-11-28T06:00 (local time), or with a"
            " zone 2026-11-28T06:00+01:00"
        ) from None
    if until <= clock.wall():
        raise ConfigError(f"--until {args.until}: has passed")
    return until


def asked_for(
    args: argparse.Namespace, config: Config, action: Literal["pause", "slow"], rate: float = 1.0
) -> str:
    """Write what is asked for ``args.scope``; return how long it holds, in words."""
    clock = SystemClock()
    control = asked_record(
        Control,
        scope=args.scope,
        action=action,
        rate=rate,
        until=end_of(args, clock),
        at=clock.wall(),
        who=who_asks(args),
        reason=args.reason,
    )
    with Desk.open(config) as desk:
        before = desk.asked().get(args.scope)
        desk.write(args.scope, control)
        if before is not None and before.holds(control.at) and before.action != action:
            words = " ".join(
                filter(None, (f"by {before.who}", before.reason and f"({before.reason})"))
            )
            print(
                f"it was {CONTROL_WORDS[before.action]} {harmless(words)}: this takes its place",
                file=sys.stderr,
            )
        with suppress(BrokerError):  # it is asked for, whether there is such an account or not
            _note_stranger(control.target, desk)
    return f"until {instant(control.until)}" if control.until else "until 'reportctl resume'"


def _note_stranger(target: Target, desk: Desk) -> None:
    """Say where nobody has an account: what is paused by another name is not paused."""
    if target.kind != "account":
        return
    known = desk.accounts(target.partner)
    if known and target.value not in known:
        near = next((one for one in known if _bare(one) == _bare(target.value)), "")
        meant = f"; did you mean {harmless(f'{target.partner}/{near}')}?" if near else ""
        print(
            f"{target.partner} has no account {target.value!r} in its last accounts table{meant}",
            file=sys.stderr,
        )


def _bare(account: str) -> str:
    """Return what is left of 123-456-7890 where another writes 1234567890."""
    return "".join(filter(str.isalnum, account)).casefold()


def who_asks(args: argparse.Namespace) -> str:
    """Return who is named, or who runs this."""
    if args.who is not None:
        return str(args.who)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
