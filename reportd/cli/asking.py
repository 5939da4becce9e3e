"""What ``partner try`` and ``partner accounts`` ask for: from the command line to a request."""

import argparse
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from reportd.cli.options import add_config_option
from reportd.config.base import known_zone
from reportd.config.days import parse_days
from reportd.config.problems import did_you_mean
from reportd.errors import ConfigError
from reportd.model.request import Request
from reportd.partners.fields import texts_in
from reportd.partners.partner import Partner
from reportd.partners.recording import read_request
from reportd.partners.templates import mentions
from reportd.trial.accounts import NOBODY, REPORT

PATIENCE_SECONDS = 600.0
ROWS_SHOWN = 10


def add_try_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``partner try`` takes."""
    parser.add_argument("name", metavar="NAME|FILE")
    parser.add_argument("--account", metavar="A", help="the account that is asked for")
    parser.add_argument("--report", metavar="R", help="needed where the file has several")
    parser.add_argument(
        "--days",
        default=None,
        metavar="DAYS",
        help="2026-11-01..2026-11-03, or back from today, 1..7 (default: 1, yesterday)",
    )
    parser.add_argument("--timezone", default=None, metavar="ZONE", help="the account's (UTC)")
    parser.add_argument("--currency", default="", metavar="CODE", help="the account's")
    parser.add_argument(
        "--format",
        action="append",
        metavar="FORMAT",
        help="a format whose files are named, once for each (default: parquet)",
    )
    parser.add_argument(
        "--rows", type=int, default=ROWS_SHOWN, metavar="N", help="rows shown (%(default)s)"
    )
    _add_common(parser)


def add_accounts_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``partner accounts`` takes."""
    parser.add_argument("name", metavar="NAME|FILE")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--csv", action="store_true", help="as a file for a schedule's accounts")
    shape.add_argument("--json", action="store_true", help="for programs")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    parser.add_argument(
        "--credential", default="", metavar="C", help="as in the accounts table: whose secrets"
    )
    for name, what in (("param", "a parameter"), ("attribute", "an attribute of the account")):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help=f"{what}; repeatable",
        )
    parser.add_argument(
        "--secrets", type=Path, metavar="DIR", help="the folder of secrets (the configuration's)"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_SECONDS,
        metavar="SECONDS",
        help="the longest wait that is waited for (default: %(default)g)",
    )
    tape = parser.add_mutually_exclusive_group()
    tape.add_argument(
        "--record", type=Path, metavar="DIR", help="save the exchanges there, without secrets"
    )
    tape.add_argument(
        "--replay", type=Path, metavar="DIR", help="ask a recording instead of the partner"
    )


def recorded_request(args: argparse.Namespace, partner: Partner) -> Request | None:
    """Return the request that is replayed, as far as nothing else is asked for."""
    if args.replay is None:
        return None
    request = read_request(args.replay)
    if request.report not in partner.reports:
        hint = did_you_mean(request.report, partner.reports)
        raise ConfigError(f"{args.replay}: is of a report {request.report!r}; {hint}")
    return request.model_copy(update={"partner": partner.name})


def asked_request(args: argparse.Namespace, partner: Partner) -> Request:
    """Return the request for a report; raises `ConfigError` with all that is missing or wrong."""
    report = args.report or next(iter(partner.reports))
    problems = []
    if args.account is None:
        problems.append("--account is missing: whose report is asked for")
    problems += _credential_problems(args, partner)
    if report not in partner.reports:
        problems.append(f"--report: no {report!r}; {did_you_mean(report, partner.reports)}")
    if args.report is None and len(partner.reports) > 1:
        problems.append(f"--report is missing: one of {', '.join(partner.reports)}")
    zone = "UTC"
    try:
        zone = known_zone(args.timezone or "UTC")
    except ValueError as error:
        problems.append(f"--timezone: {error}")
    try:
        days = parse_days(args.days or "1")
        first, last = days.range(datetime.now(ZoneInfo(zone)).date())
    except ValueError as error:
        problems.append(f"--days: {error}")
    if problems:
        raise ConfigError(*problems)
    return _request(
        args,
        partner,
        report=report,
        account=args.account,
        first=first,
        last=last,
        timezone=zone,
        currency=args.currency,
        formats=args.format or ["parquet"],
    )


def accounts_request(args: argparse.Namespace, partner: Partner) -> Request:
    """Return the request for a list of accounts; raises `ConfigError`."""
    if problems := _credential_problems(args, partner):
        raise ConfigError(*problems)
    day = date(1970, 1, 1)
    return _request(args, partner, report=REPORT, account=NOBODY, first=day, last=day)


def unsaid(request: Request, partner: Partner) -> str:
    """Return what the report speaks of and the request leaves empty; empty: nothing."""
    texts = texts_in(partner.reports[request.report].spec.model_dump())
    asked = any(path[:2] == ("account", "currency") for text in texts for path in mentions(text))
    if request.currency or not asked:
        return ""
    return "account.currency is empty; give --currency, if the partner wants one"


def _credential_problems(args: argparse.Namespace, partner: Partner) -> list[str]:
    texts = texts_in(partner.spec.auth.model_dump())
    wanted = any(path[:2] == ("account", "credential") for text in texts for path in mentions(text))
    if args.credential or not wanted:
        return []
    return ["--credential is missing: the file's auth names secrets by it"]


def _request(
    args: argparse.Namespace,
    partner: Partner,
    *,
    report: str,
    account: str,
    first: date,
    last: date,
    **fields: Any,
) -> Request:
    document = {
        "v": 1,
        "run": f"try/{datetime.now(UTC):%Y-%m-%dT%H:%MZ}#1",
        "partner": partner.name,
        "report": report,
        "account": account,
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "params": _pairs("--param", args.param),
        "attributes": _pairs("--attribute", args.attribute),
        "credential": args.credential,
        "formats": ["parquet"],
        **fields,
    }
    try:
        return Request.model_validate(document)
    except ValueError as error:
        raise ConfigError(f"this makes no request: {_first_problem(error)}") from None


def _first_problem(error: ValueError) -> str:
    found = error.errors() if isinstance(error, ValidationError) else []
    return "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in found) or str(error)


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise ConfigError(f"{option}: write KEY=VALUE")
        found[key] = value
    return found
