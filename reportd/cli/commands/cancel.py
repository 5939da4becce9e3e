"""``reportctl cancel``: end what is open of a run."""

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING

from reportd.cli.controlling import Desk, add_control_options, who_asks
from reportd.cli.showing import harmless
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.errors import ConfigError, InvalidMessageError
from reportd.model.control import RUN, Control
from reportd.model.run import Manifest, order_of

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

NEWEST = 5


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``cancel RUN [--reason TEXT] [--who NAME] [--undo]``."""
    parser = subparsers.add_parser(
        "cancel",
        help="end what is open of a run",
        description="Within 2 s every VM ends the run's open requests as cancelled, with a record "
        "in the ledger; calls under way are finished, and what is finished stays. Messages that "
        "nobody has read yet end when they are read. A replay that is asked for later runs.",
        epilog="example: reportctl cancel 'daily/2026-11-22T04:00Z#1' --reason 'wrong accounts'",
    )
    parser.add_argument("name", metavar="RUN", help="as 'reportctl status' writes it")
    parser.add_argument(
        "--undo", action="store_true", help="let what has not ended yet run after all"
    )
    add_control_options(parser, ends=False)
    return parser


def run(args: argparse.Namespace) -> int:
    """Cancel; raises `ConfigError` for a run that nobody enqueued, `BrokerError`."""
    name: str = args.name
    clock = SystemClock()
    with Desk.open(load(args.config)) as desk:
        scope = f"{RUN}{name}"
        if args.undo:
            if scope not in desk.asked():
                raise ConfigError(f"{name} is not cancelled")
            desk.write(scope, None)
            print(f"{name} goes on, but for what has ended already")
            return 0
        requests = _known_runs(desk)
        if name not in requests:
            newest = ", ".join(list(requests)[-NEWEST:]) or "none"
            raise ConfigError(f"there is no run {harmless(name)}; the newest are: {newest}")
        desk.write(
            scope,
            Control(
                scope=scope,
                action="cancel",
                at=clock.wall(),
                who=who_asks(args),
                reason=args.reason,
            ),
        )
    print(f"{name} is cancelled: what is open of its {requests[name]:,} requests ends")
    return 0


def _known_runs(desk: Desk) -> dict[str, int]:
    """Return how many requests each run has, the oldest first."""
    found: dict[str, int] = {}
    for message in desk.reader.read_all(desk.topics.runs):
        with suppress(InvalidMessageError):
            manifest = Manifest.from_json(message.value)
            found[manifest.run] = manifest.requests
    return dict(sorted(found.items(), key=lambda one: order_of(one[0])))
