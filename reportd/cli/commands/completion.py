"""``reportctl completion``: what a shell needs to complete commands and options."""

import argparse
from typing import TYPE_CHECKING

from reportd.cli.parsers import completion

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``completion bash``."""
    parser = subparsers.add_parser(
        "completion",
        help="print a shell's completion",
        description="Print what bash needs to complete commands and options. The Debian package "
        "installs it.",
        epilog="example: source <(reportctl completion bash)",
    )
    parser.add_argument("shell", choices=("bash",), metavar="SHELL", help="bash")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print it."""
    root: argparse.ArgumentParser = args.root
    print(completion(root), end="")
    return 0
