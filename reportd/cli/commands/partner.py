"""``reportctl partner``: look at partner files, and make new ones right."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reportd.cli.asking import add_accounts_options, add_try_options
from reportd.cli.choosing import Place, place_of
from reportd.cli.options import add_config_option
from reportd.cli.showing import show_json, show_table
from reportd.cli.trying import list_accounts, try_report
from reportd.config.toml import toml_lines
from reportd.errors import ConfigError
from reportd.partners.extending import catalogue_files, read_source
from reportd.partners.load import load_partner
from reportd.partners.partner import Partner, blind_rules, heard_apart
from reportd.partners.render import schema

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

COLUMNS = ("partner", "from", "reports", "key", "API version", "sunset", "unverified", "")
IN_ORDER = ("columns", "query", "headers", "json")
"""Tables of a partner file whose order means something, to people or to the partner."""


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``partner list``, ``show``, ``check``, ``try``, ``accounts``, ``schema``."""
    parser = subparsers.add_parser(
        "partner",
        help="the catalogue and your own partners: look, check, try",
        description="Partner files: the catalogue's and your own. None of it needs Kafka.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        description="List the partners of the configuration and of the catalogue.",
        epilog="example: reportctl partner list",
        help="the partners of the configuration and of the catalogue",
    )
    add_config_option(listing)
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(act=_list)
    showing = actions.add_parser(
        "show",
        epilog="example: reportctl partner show google_ads",
        help="print a partner's file as it is meant, with what it extends",
        description="Print the whole file as TOML: what a file that extends another one comes to.",
    )
    add_config_option(showing)
    showing.add_argument("name", metavar="NAME|FILE")
    showing.set_defaults(act=_show)
    checking = actions.add_parser(
        "check",
        epilog="example: reportctl partner check ./acme.toml",
        help="say every mistake in partner files; 78 if there is one",
        description="Check partner files alone: every mistake at once, with its place and a hint.",
    )
    add_config_option(checking)
    checking.add_argument("names", nargs="+", metavar="NAME|FILE")
    checking.set_defaults(act=_check)
    trying = actions.add_parser(
        "try",
        epilog="example: reportctl partner try ./acme.toml --account 123 --days 1..3",
        help="ask for one report and show everything about it; no Kafka, no file is written",
        description="Make one request as a worker would: each call, what it meant, the columns' "
        "types, the rows, the files that would be written. Limits are kept, waits are obeyed. 1 if "
        "the partner refuses or columns do not fit, 75 if it cannot be reached or would take too "
        "long.",
    )
    add_try_options(trying)
    trying.set_defaults(act=try_report)
    asking = actions.add_parser(
        "accounts",
        epilog="example: reportctl partner accounts meta --credential main --csv",
        help="list the accounts that a credential can see",
        description="Ask the partner for the accounts of a credential. With --csv, a file for a "
        "schedule's accounts.",
    )
    add_accounts_options(asking)
    asking.set_defaults(act=list_accounts)
    describing = actions.add_parser(
        "schema",
        epilog="example: reportctl partner schema > partner.schema.json",
        help="print the JSON Schema of partner files, for editors",
        description='Print the JSON Schema. Editors take it from a first line "#:schema FILE".',
    )
    describing.set_defaults(act=_schema)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


@dataclass(frozen=True, slots=True)
class Row:
    """One partner of the list."""

    partner: str
    origin: str
    """``own``, ``own, extends NAME`` or ``catalogue``."""
    reports: tuple[str, ...]
    key: str
    api_version: str
    sunset: str
    unverified: int
    """How many statements nobody could confirm yet."""
    problems: int

    def cells(self) -> tuple[object, ...]:
        """Return what the table shows."""
        return (
            self.partner,
            self.origin,
            ", ".join(self.reports),
            self.key,
            self.api_version,
            self.sunset,
            self.unverified or None,
            f"wrong: see partner check {self.partner}" if self.problems else "",
        )


def _list(args: argparse.Namespace) -> int:
    rows = list(rows_of(place_of(args.config)))
    if args.json:
        show_json([asdict(row) for row in rows])
    else:
        show_table(COLUMNS, (row.cells() for row in rows))
    return 0


def rows_of(place: Place) -> Iterator[Row]:
    """Yield the configuration's own partners, then those of the catalogue."""
    for name, path in place.own_files().items():
        yield _row(name, path, "own", place)
    for name, path in catalogue_files(place.catalogue).items():
        yield _row(name, path, "catalogue", place)


def _row(name: str, path: Path, origin: str, place: Place) -> Row:
    try:
        source = read_source(path, place.catalogue)
        partner = load_partner(path, place.catalogue)
    except ConfigError as error:
        return Row(name, origin, (), "", "", "", 0, len(error.problems))
    if source.base is not None:
        origin += f", extends {source.base.stem}"
    return Row(
        partner=name,
        origin=origin,
        reports=tuple(partner.reports),
        key=partner.key_scope,
        api_version=partner.spec.api_version,
        sunset=str(partner.spec.sunset or ""),
        unverified=len(partner.spec.unverified),
        problems=0,
    )


def _show(args: argparse.Namespace) -> int:
    place = place_of(args.config)
    path = place.find(args.name)
    load_partner(path, place.catalogue)
    source = read_source(path, place.catalogue)
    print(f"# {path}")
    if source.base is None:  # with its comments: they name where each number comes from
        print(path.read_text(encoding="utf-8"), end="")
        return 0
    print(f"# laid over {source.base}")
    merged = {key: value for key, value in source.data.items() if key != "extends"}
    for line in toml_lines(merged, IN_ORDER):
        print(line)
    return 0


def _check(args: argparse.Namespace) -> int:
    place = place_of(args.config)
    problems: list[str] = []
    lines = []
    for name in args.names:
        try:
            path = place.find(name)
            lines += [f"{path}: {line}" for line in summary(load_partner(path, place.catalogue))]
        except ConfigError as error:
            problems += error.problems
    for line in lines:
        print(line)
    if problems:
        raise ConfigError(*problems)
    return 0


def summary(partner: Partner) -> Iterator[str]:
    """Yield what a right file comes to, for people."""
    limits = ", ".join(limit.words() for limit in partner.spec.limits)
    yield f"right; key = {partner.key_scope}; limits: {limits or 'none'}"
    for name, report in partner.reports.items():
        days = f"up to {report.spec.max_days} days" if report.spec.day_column else "one day"
        yield f"report {name}: {len(report.spec.columns)} columns; {days} a request"
    yield from heard_apart(partner)
    yield from blind_rules(partner)


def _schema(_args: argparse.Namespace) -> int:
    print(schema(), end="")
    return 0
