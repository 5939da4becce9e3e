"""``reportctl limits``: how much of each limit is used, who holds it, and what waits for it."""

import argparse
import http.client
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reportd.cli.observing import ask_observer
from reportd.cli.options import add_config_option
from reportd.cli.showing import harmless, instant, show_json, show_table
from reportd.config.load import load
from reportd.errors import UnavailableError

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``limits [--json]``."""
    parser = subparsers.add_parser(
        "limits",
        help="what of each limit is used, and what waits for it",
        description="Ask this VM's observer how much of each limit its workers use, which of them "
        "hold it, how many requests wait for it, and what is left of quotas; and what other VMs "
        "say of theirs, every ten seconds.",
        epilog="example: reportctl limits",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show it; raises `UnavailableError` if no observer answers."""
    metrics = load(args.config).settings.metrics
    try:
        found = ask_observer(metrics)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(f"no observer at {metrics.listen}: {error}") from error
    if args.json:
        show_json({name: found.get(name, []) for name in ("limits", "quotas", "elsewhere")})
    else:
        show(found)
    return 0


def show(found: Mapping[str, Any]) -> None:
    """Print the tables; a limit that nobody has met is in none."""
    elsewhere = found.get("elsewhere", {})
    show_table(
        ("partner", "per", "in use", "busiest", "its use", "waiting", "held by"),
        (
            (
                one["partner"],
                one["per"],
                one["scopes"],
                harmless(one["busiest"]),
                f"{one['share']:.0%}",
                one["waiting"],
                harmless(", ".join(one["workers"]) + (f" on {one['vm']}" if "vm" in one else "")),
            )
            for one in (*found.get("limits", ()), *elsewhere.get("limits", ()))
        ),
        empty="no limit was met yet: the workers have called nobody",
    )
    quotas = (*found.get("quotas", ()), *elsewhere.get("quotas", ()))
    if quotas:
        show_table(
            ("quota of", "least left", "calls left", "more at", "VM"),
            (
                (
                    one["partner"],
                    harmless(f"{one['per']} {one['value']}"),
                    round(one["calls"]),
                    instant(one["resets_at"]),
                    harmless(one.get("vm", "")),
                )
                for one in quotas
            ),
        )
    for vm in elsewhere.get("silent", ()):
        print(f"{harmless(vm)} does not say what it holds: ask there")
    if error := found.get("broker", {}).get("error"):
        print(f"the broker does not answer, other VMs were heard before that: {harmless(error)}")
