"""``reportctl resume``: lift a pause or a slow down."""

import argparse
from typing import TYPE_CHECKING

from reportd.cli.controlling import SCOPE_HELP, Desk
from reportd.cli.options import add_config_option
from reportd.cli.showing import harmless
from reportd.clock import SystemClock
from reportd.config.load import load
from reportd.errors import ConfigError
from reportd.model.control import Target

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``resume SCOPE`` and ``resume --all``."""
    parser = subparsers.add_parser(
        "resume",
        help="lift a pause or a slow down",
        description="Within 2 s every VM goes on with the scope as if nothing had been asked for. "
        "The scope is written as it was paused; 'reportctl controls' lists them.",
        epilog="example: reportctl resume google_ads/1234567890",
    )
    scope = parser.add_mutually_exclusive_group(required=True)
    scope.add_argument("scope", nargs="?", metavar="SCOPE", help=SCOPE_HELP)
    scope.add_argument("--all", action="store_true", help="all that is paused or slowed down")
    add_config_option(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Lift it; raises `ConfigError` if there is nothing to lift, `BrokerError`."""
    with Desk.open(load(args.config)) as desk:
        wall = SystemClock().wall()
        asked = {scope: one for scope, one in desk.asked().items() if one.action != "cancel"}
        paused = [one.scope for one in asked.values() if one.action == "pause" and one.holds(wall)]
        scopes = list(asked) if args.all else [args.scope]
        for scope in scopes:
            if scope not in asked:
                known = ", ".join(harmless(one) for one in asked) or "nothing"
                raise ConfigError(
                    f"{harmless(scope)} is neither paused nor slowed down; there is: {known}"
                )
            desk.write(scope, None)
            print(f"{harmless(scope)} goes on")
            if left := [one for one in paused if one not in scopes and _overlap(one, scope)]:
                print(f"still paused: {harmless(', '.join(left))}")
    if not scopes:
        print("nothing is paused or slowed down")
    return 0


def _overlap(one: str, other: str) -> bool:
    """Say whether a request may be of both scopes: any class has any partner's, for one."""
    mine, yours = Target.parse(one), Target.parse(other)
    if "class" in (mine.kind, yours.kind):
        return mine.kind != yours.kind
    same = mine.kind == yours.kind
    return mine.partner == yours.partner and not same
