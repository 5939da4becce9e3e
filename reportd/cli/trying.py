"""``reportctl partner try`` and ``partner accounts``: ask the real partner, without Kafka."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from reportd.cli.choosing import Place, place_of
from reportd.cli.options import add_config_option
from reportd.cli.showing import harmless, show_json, show_table
from reportd.cli.watching import Watch, pause
from reportd.clock import Clock, SystemClock
from reportd.config.base import known_zone
from reportd.config.days import FixedDays, parse_days
from reportd.config.load import load
from reportd.config.problems import did_you_mean
from reportd.config.secrets import Secret, SecretsFolder
from reportd.errors import (
    EXIT_UNAVAILABLE,
    ConfigError,
    InvalidMessageError,
    UnexpectedAnswerError,
)
from reportd.model.request import Request
from reportd.partners.load import load_partner
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.recording import Player, Recorder, Send, new_recording, read_request
from reportd.partners.redaction import redacted_reason
from reportd.partners.verdict import Outcome
from reportd.sinks.paths import PathTemplate
from reportd.sinks.table import Table
from reportd.transport.assertion import signed
from reportd.transport.client import Client
from reportd.transport.credentials import Credentials
from reportd.transport.token_files import TokenMemory
from reportd.transport.tokens import Tokens
from reportd.trial.accounts import (
    NOBODY,
    REPORT,
    account_problems,
    account_rows,
    as_csv,
    asking_for_accounts,
    without_account,
)
from reportd.trial.inference import compare, undeclared
from reportd.trial.replay import NoTokens, no_secret, open_recording
from reportd.trial.run import RefusedError, Trial
from reportd.trial.sample import Sample, sample
from reportd.worker.opening import open_output

PATIENCE_SECONDS = 600.0
ROWS_SHOWN = 10
COMPARED = ("column", "from", "declared", "looks like", "for example", "suggestion")


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
    parser.set_defaults(act=try_report)


def add_accounts_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``partner accounts`` takes."""
    parser.add_argument("name", metavar="NAME|FILE")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--csv", action="store_true", help="as a file for a schedule's accounts")
    shape.add_argument("--json", action="store_true", help="for programs")
    _add_common(parser)
    parser.set_defaults(act=list_accounts)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """What a trial is made of: the real world, or a recording."""

    send: Send
    clock: Clock
    pause: Callable[[float], object]
    credentials: Credentials
    player: Player | None = None


def try_report(args: argparse.Namespace) -> int:
    """Run one request and show all of it; 1 if the partner refused or columns do not fit."""
    place = place_of(args.config)
    partner = load_partner(place.find(args.name), place.catalogue)
    request = _recorded(args, partner) or _asked(args, partner)
    stage = _stage(args, partner, request, place)
    days = FixedDays(request.first_day, request.last_day)
    print(f"{partner.name}.{request.report}, account {harmless(request.account)}, {days}")
    try:
        bodies = _trial(args, partner, stage, sys.stdout).run(request)
    except InvalidMessageError as error:
        raise ConfigError(f"{args.name}: {error}") from None
    except RefusedError as error:
        return _refused(error, stage)
    report = partner.reports[request.report]
    seen = sample(report, bodies)
    _show_columns(report.spec.columns, seen)
    try:
        tables = to_tables(partner, request, [body for body in bodies if body], stage.clock.wall())
    except UnexpectedAnswerError as error:
        print(f"The answers do not fit: {harmless(str(error))}")
        print("A worker would keep them and hold the request until the file is mended.")
        _show_replay(stage)
        return 1
    _show_rows(tables, args.rows)
    status = 0
    if report.spec.rows_expected and not any(map(len, tables.values())):
        print("There are no rows, and the report says rows_expected: a worker would not take it.")
        status = 1
    _show_files(args, partner.completed(request), tables, report.spec.params)
    _show_replay(stage)
    return status


def list_accounts(args: argparse.Namespace) -> int:
    """Ask for the accounts of a credential and print them; calls are shown on stderr."""
    place = place_of(args.config)
    partner = asking_for_accounts(load_partner(place.find(args.name), place.catalogue))
    request = _recorded(args, partner) or _request(
        args, partner, report=REPORT, account=NOBODY, first=date(1970, 1, 1), last=date(1970, 1, 1)
    )
    stage = _stage(args, partner, request, place)
    request = without_account(request)
    try:
        bodies = _trial(args, partner, stage, sys.stderr).run(request)
        rows = account_rows(partner, request, bodies, stage.clock.wall())
    except InvalidMessageError as error:
        raise ConfigError(f"{args.name}: {error}") from None
    except RefusedError as error:
        return _refused(error, stage)
    if args.csv:
        print(as_csv(rows), end="")
    elif args.json:
        show_json(rows)
    else:
        show_table(list(rows[0]) if rows else ["account"], (list(row.values()) for row in rows))
    problems = list(account_problems(rows))
    for problem in problems:
        print(harmless(problem), file=sys.stderr)
    return 1 if problems else 0


def _trial(args: argparse.Namespace, partner: Partner, stage: _Stage, out: Any) -> Trial:
    return Trial(
        partner=partner,
        send=stage.send,
        credentials=stage.credentials,
        clock=stage.clock,
        pause=stage.pause,
        watcher=Watch(out),
        patience_seconds=float("inf") if stage.player else args.patience,
    )


def _recorded(args: argparse.Namespace, partner: Partner) -> Request | None:
    """Return the request that is replayed, as far as nothing else is asked for."""
    if args.replay is None:
        return None
    request = read_request(args.replay)
    if request.report not in partner.reports:
        hint = did_you_mean(request.report, partner.reports)
        raise ConfigError(f"{args.replay}: is of a report {request.report!r}; {hint}")
    return request.model_copy(update={"partner": partner.name})


def _asked(args: argparse.Namespace, partner: Partner) -> Request:
    report = args.report or next(iter(partner.reports))
    problems = []
    if args.account is None:
        problems.append("--account is missing: whose report is asked for")
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


def _stage(args: argparse.Namespace, partner: Partner, request: Request, place: Place) -> _Stage:
    if args.replay is not None:
        player, recorded = open_recording(args.replay)
        return _Stage(
            send=player.send,
            clock=recorded,
            pause=recorded.pause,
            credentials=Credentials(no_secret, NoTokens(), recorded),
            player=player,
        )
    clock = SystemClock()
    client = Client(1)
    credentials = _credentials(args, partner, place, client, clock)
    send: Send = client.send
    if args.record is not None:
        new_recording(args.record, request)
        plan = partner.auth_plan(request)
        recorder = Recorder(send, args.record, clock.wall, lambda: credentials.auth(plan).secrets)
        send = recorder.send
    return _Stage(send=send, clock=clock, pause=pause, credentials=credentials)


def _credentials(
    args: argparse.Namespace, partner: Partner, place: Place, client: Client, clock: Clock
) -> Credentials:
    """Return what reads secrets and fetches tokens; those that rotate are kept at the output."""
    read = _reader(args, place)
    oauth2 = partner.spec.auth.oauth2
    rotates = oauth2 is not None and oauth2.grant == "refresh_token" and oauth2.rotates
    tokens = Tokens(
        read=read,
        send=client.send,
        sign=signed,
        files=TokenMemory(),
        clock=clock,
        hide=redacted_reason,
        notes=open_output(load(args.config).settings.output).notes if rotates else None,
    )
    return Credentials(read, tokens, clock)


def _reader(args: argparse.Namespace, place: Place) -> Callable[[str], Secret]:
    folder = SecretsFolder(args.secrets) if args.secrets is not None else place.secrets

    def read(name: str) -> Secret:
        if folder is None:
            raise ConfigError(
                f"secret {name!r}: {args.config} is not there to say where secrets are; name"
                " their folder with --secrets"
            )
        return folder.read(name)

    return read


def _refused(error: RefusedError, stage: _Stage) -> int:
    print(f"It ends here: {harmless(str(error))}", file=sys.stderr)
    if error.verdict.sample:
        sample_text = error.verdict.sample.decode("utf-8", "replace")
        print(f"The answer begins: {harmless(sample_text)}", file=sys.stderr)
    _show_replay(stage)
    return EXIT_UNAVAILABLE if error.verdict.outcome is Outcome.TRANSIENT else 1


def _show_columns(columns: Mapping[str, Any], seen: Sample) -> None:
    print()
    rows = [
        (
            one.name,
            one.source,
            one.declared,
            one.seen.kind if one.seen else "",
            one.seen.example if one.seen else "",
            one.suggestion,
        )
        for one in compare(columns, seen.fields, seen.records)
    ]
    print(f"Columns, by {seen.records:,} records" + (f" ({seen.problem})" if seen.problem else ""))
    show_table(COMPARED, rows)
    lines = list(undeclared(columns, seen.fields))
    if lines:
        print("Not declared, but there:")
        for line in lines:
            print(f"    {harmless(line)}")
        print()


def _show_rows(tables: Mapping[date, Table], most: int) -> None:
    rows: list[dict[str, Any]] = []
    total = sum(map(len, tables.values()))
    for table in tables.values():
        rows += table.slice(0, max(0, most - len(rows))).to_pylist()
    if rows:
        print(f"The first {len(rows)} of {total:,} rows")
        show_table(list(rows[0]), (list(map(_cell, row.values())) for row in rows))


def _cell(value: Any) -> object:
    return value if value is None or isinstance(value, int | float) else str(value)


def _show_files(
    args: argparse.Namespace,
    request: Request,
    tables: Mapping[date, Table],
    params: Mapping[str, Any],
) -> None:
    root, template = _output(args.config)
    problems = template.problems(params)
    print("Files that a worker would write" + (f" below {root}" if root else ""))
    for problem in problems:
        print(f"    output.path: {problem}")
    for day, table in tables.items():
        for ending in request.formats:
            path = template.render(
                request.partner, request.report, request.account, day, request.params, ending
            )
            print(f"    {path}  {len(table):,} rows")


def _output(config: Path) -> tuple[str, PathTemplate]:
    try:
        output = load(config).settings.output
    except ConfigError:
        return "", PathTemplate()
    return str(output.root), PathTemplate(output.path)


def _show_replay(stage: _Stage) -> None:
    if stage.player is None:
        return
    for difference in stage.player.differences:
        print(harmless(difference))
    if stage.player.left:
        print(f"{stage.player.left} recorded exchanges were not asked for.")
