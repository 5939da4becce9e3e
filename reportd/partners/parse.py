"""From the answers of one request to a table a day.

Used by the worker's finishing thread and by ``partner try``. What is large is never in memory as a
whole: answers are read one after the other, rows are made some at a time.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any

from reportd.errors import UnexpectedAnswerError
from reportd.model.content import Content
from reportd.model.request import Request
from reportd.partners.answer_spec import CsvSpec
from reportd.partners.body import Body
from reportd.partners.partner import Partner, Report
from reportd.sinks.gathering import Gathering, Rows
from reportd.sinks.table import (
    Context,
    CsvOptions,
    Schema,
    Table,
    behind,
    concat,
    csv_tables,
    from_csv,
    from_lists,
    from_records,
)

RECORDS_AT_ONCE = 10_000


def to_tables(
    partner: Partner, request: Request, bodies: Iterable[Content], downloaded_at: float
) -> Mapping[date, Rows]:
    """Return the rows of every day asked for, of all answers in their order.

    ``bodies`` are raw, as they were spooled; an empty one (`Verdict.empty`) has no rows.
    ``downloaded_at``: epoch seconds. Raises `UnexpectedAnswerError`.
    """
    report = partner.reports[request.report]
    gathering = Gathering(report.spec.day_column, request.days())
    for table in _tables(partner, request, bodies, downloaded_at):
        gathering.add(table)
    return gathering.by_day()


def to_table(
    partner: Partner, request: Request, bodies: Iterable[Content], downloaded_at: float
) -> Table:
    """Return one table of all answers; raises `UnexpectedAnswerError`."""
    return concat(list(_tables(partner, request, bodies, downloaded_at)))


def _tables(
    partner: Partner, request: Request, bodies: Iterable[Content], downloaded_at: float
) -> Iterator[Table]:
    """Yield the answers' rows in their order; at least one table, which may be empty."""
    report = partner.reports[request.report]
    schema = _schema(partner, report.name)
    context = Context(partner.completed(request), downloaded_at)
    kept = (Body(body, report.spec) for body in bodies if body)
    if report.spec.format == "csv":
        found = _from_csv(kept, report, schema, context)
    elif report.spec.lists is not None:
        found = _from_lists(kept, report, schema, context)
    else:
        yield from _from_records(kept, report, schema, context)
        return
    first = next(found, None)
    yield from_records([], schema, context) if first is None else first
    yield from found


def _from_csv(
    bodies: Iterable[Body], report: Report, schema: Schema, context: Context
) -> Iterator[Table]:
    options = _csv_options(report.spec.csv)
    for body in bodies:
        for part in body.parts():
            if part.data is not None:
                yield from_csv(part.data, options, schema, context)
            else:
                yield from csv_tables(part.chunks(), options, schema, context)


def _from_lists(
    bodies: Iterable[Body], report: Report, schema: Schema, context: Context
) -> Iterator[Table]:
    for body in bodies:
        for found in body.listed(report.rows):
            yield from_lists(found.names, found.values, found.rows, schema, context)


def _from_records(
    bodies: Iterable[Body], report: Report, schema: Schema, context: Context
) -> Iterator[Table]:
    """Make tables of about as many rows as are quickest."""
    records: list[Any] = []
    before = 0
    for body in bodies:
        for batch in body.records(report.rows, report.unfold):
            records += batch
            if len(records) >= RECORDS_AT_ONCE:
                yield _records_table(records, before, schema, context)
                before += len(records)
                records = []
    if records or not before:
        yield _records_table(records, before, schema, context)


def _records_table(records: list[Any], before: int, schema: Schema, context: Context) -> Table:
    try:
        return from_records(records, schema, context)
    except UnexpectedAnswerError as error:
        raise behind(before, error) from error


@lru_cache(maxsize=256)
def _schema(partner: Partner, report: str) -> Schema:
    return Schema.compile(partner.reports[report].spec.typed_columns())


def _csv_options(spec: CsvSpec) -> CsvOptions:
    return CsvOptions(
        delimiter=spec.delimiter,
        quote=spec.quote,
        skip_lines=spec.skip_lines,
        header_starts=spec.header_starts,
        skip_footer_lines=spec.footer_lines,
        header=spec.header,
    )
