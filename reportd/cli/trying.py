"""``reportctl partner try`` and ``partner accounts``: ask the real partner, without Kafka."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from reportd.cli.asking import accounts_request, asked_request, recorded_request, unsaid
from reportd.cli.choosing import place_of
from reportd.cli.showing import duration, harmless, show_json, show_table
from reportd.cli.stage import Stage, stage_of
from reportd.config.days import FixedDays
from reportd.config.load import load
from reportd.config.toml import toml_value
from reportd.errors import (
    EXIT_UNAVAILABLE,
    ConfigError,
    InvalidMessageError,
    UnexpectedAnswerError,
)
from reportd.model.content import Content
from reportd.model.request import Request
from reportd.partners.body import Body
from reportd.partners.load import load_partner
from reportd.partners.parse import to_tables
from reportd.partners.partner import Report
from reportd.partners.scrubbing import scrubbed_text
from reportd.partners.verdict import Outcome
from reportd.sinks.gathering import Rows, first_rows
from reportd.sinks.paths import PathTemplate
from reportd.trial.accounts import (
    account_problems,
    account_rows,
    as_csv,
    asking_for_accounts,
    without_account,
)
from reportd.trial.inference import compare, other_delimiter, undeclared
from reportd.trial.run import RefusedError
from reportd.trial.sample import Sample, places_of_records, sample

_ATTRIBUTE = re.compile(r"gives no account\.([A-Za-z_][A-Za-z0-9_]*)")
BEGINNING_CHARS = 1000
COMPARED = ("column", "from", "declared", "looks like", "for example", "suggestion")


def try_report(args: argparse.Namespace) -> int:
    """Run one request and show all of it; 1 if the partner refused or columns do not fit."""
    place = place_of(args.config)
    partner = load_partner(place.find(args.name), place.catalogue)
    request = recorded_request(args, partner) or asked_request(args, partner)
    stage = stage_of(args, partner, request, place, sys.stdout)
    days = FixedDays(request.first_day, request.last_day)
    print(f"{partner.name}.{request.report}, account {harmless(request.account)}, {days}")
    if lacking := unsaid(request, partner):
        print(f"     {lacking}")
    try:
        bodies = stage.run(request)
    except InvalidMessageError as error:
        raise _not_asked(args.name, error) from None
    except RefusedError as error:
        return _refused(error, stage)
    report = partner.reports[request.report]
    seen = sample(report, bodies)
    _show_columns(report.spec.columns, seen)
    if not seen.records:
        _show_beginning(report, bodies, stage)
    if report.spec.format == "csv" and (delimiter := other_delimiter(seen.fields)):
        print(f"The header is one field: csv = {toml_value({'delimiter': delimiter})} divides it.")
    try:
        tables = to_tables(
            partner, request, [body for body in bodies if body], stage.trial.clock.wall()
        )
    except UnexpectedAnswerError as error:
        print(f"The answers do not fit: {harmless(str(error))}")
        most = duration(partner.spec.retry.give_up_seconds)
        print(f"A worker would keep them and hold the request until the file is mended, for {most}")
        print("at most (retry.give_up_seconds); then it is a dead letter, to be replayed.")
        _show_replay(stage)
        return 1
    _show_rows(tables, args.rows)
    status = 0
    if report.spec.rows_expected and not any(table.num_rows for table in tables.values()):
        print("There are no rows, and the report says rows_expected: a worker would not take it.")
        status = 1
    _show_files(args, partner.completed(request), tables, report.spec.params)
    _show_replay(stage)
    return status


def list_accounts(args: argparse.Namespace) -> int:
    """Ask for the accounts of a credential and print them; calls are shown on stderr."""
    place = place_of(args.config)
    partner = asking_for_accounts(load_partner(place.find(args.name), place.catalogue))
    request = recorded_request(args, partner) or accounts_request(args, partner)
    stage = stage_of(args, partner, request, place, sys.stderr)
    request = without_account(request)
    try:
        bodies = stage.run(request)
        rows = account_rows(partner, request, bodies, stage.trial.clock.wall())
    except InvalidMessageError as error:
        raise _not_asked(args.name, error) from None
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


def _not_asked(name: str, error: InvalidMessageError) -> ConfigError:
    """Return why there is nothing to ask."""
    return ConfigError(f"{name}: {error}{_attribute_hint(str(error))}")


def _attribute_hint(what: str) -> str:
    """Return how an attribute is given that a template needs and the command line lacks."""
    found = _ATTRIBUTE.search(what)
    return f"; give --attribute {found[1]}=..." if found else ""


def _refused(error: RefusedError, stage: Stage) -> int:
    hint = _attribute_hint(str(error))
    print(f"It ends here: {harmless(str(error))}{hint}", file=sys.stderr)
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


def _show_beginning(report: Report, bodies: Sequence[Content], stage: Stage) -> None:
    """Show the first answer, where no record was found in it, and where there may be some."""
    for place in places_of_records(report, bodies):
        print(f"There are objects at rows = {json.dumps(place)}")
    for raw in bodies:
        if raw:
            text = scrubbed_text(Body(raw, report.spec).text()[:BEGINNING_CHARS], stage.secrets)
            print(f"The answer begins: {harmless(text)}")
            return


def _show_rows(tables: Mapping[date, Rows], most: int) -> None:
    rows: list[dict[str, Any]] = []
    total = sum(table.num_rows for table in tables.values())
    for table in tables.values():
        rows += first_rows(table, max(0, most - len(rows)))
    if rows:
        print(f"The first {len(rows)} of {total:,} rows")
        show_table(list(rows[0]), (list(map(_cell, row.values())) for row in rows))


def _cell(value: Any) -> object:
    return value if value is None or isinstance(value, int | float) else str(value)


def _show_files(
    args: argparse.Namespace,
    request: Request,
    tables: Mapping[date, Rows],
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
            print(f"    {path}  {table.num_rows:,} rows")


def _output(config: Path) -> tuple[str, PathTemplate]:
    try:
        output = load(config).settings.output
    except ConfigError:
        return "", PathTemplate()
    return str(output.root), PathTemplate(output.path)


def _show_replay(stage: Stage) -> None:
    if stage.player is None:
        return
    for difference in stage.player.differences:
        print(harmless(difference))
    if stage.player.left:
        print(f"{stage.player.left} recorded exchanges were not asked for.")
