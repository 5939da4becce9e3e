"""``reportctl leave``: a VM that was stopped for good gives its partitions to others at once."""

import argparse
from typing import TYPE_CHECKING

from reportd.cli.options import add_config_option
from reportd.config.load import load
from reportd.daemon.departure import depart
from reportd.observer.machine import this_vm
from reportd.partners.load import load_partners

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``leave [--machine-id ID] [--force]``."""
    parser = subparsers.add_parser(
        "leave",
        epilog="example: reportctl leave",
        help="after a stop for good: give this VM's partitions to others at once",
        description="A stopped VM keeps its partitions until its session is over, so that a "
        "restart moves nothing. After a stop for good, run this: others read them at once. 78 if "
        "the daemon still runs, or may.",
    )
    add_config_option(parser)
    parser.add_argument("--machine-id", metavar="ID", help="another VM than this one")
    parser.add_argument(
        "--force",
        action="store_true",
        help="it is certainly off, though it did not say so; one that lives is ended by this",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Leave; raises `ConfigError` if it may be alive, `BrokerError`."""
    config = load(args.config)
    me = this_vm(config, 0.0)
    if args.machine_id:
        me = me.model_copy(update={"machine": args.machine_id})
    partners = sorted(load_partners(config.settings.partners_folder))
    done = depart(config, partners, me, force=args.force)
    if not done.members:
        print(f"VM {me.machine} is not in the group")
        return 0
    print(f"{', '.join(done.members)} left; the group had settled after {done.seconds:.1f} s")
    return 0
