"""From the answers of one request to a table a day.

Used by the worker's finishing thread and by ``partner try``.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from reportd.errors import UnexpectedAnswerError
from reportd.model.request import Request
from reportd.partners.body import Body
from reportd.partners.partner import Partner, Report
from reportd.partners.report_spec import CsvSpec
from reportd.sinks.table import (
    Context,
    CsvOptions,
    Schema,
    Table,
    concat,
    from_csv,
    from_records,
    split_days,
)


def to_tables(
    partner: Partner, request: Request, bodies: Sequence[bytes], downloaded_at: float
) -> Mapping[date, Table]:
    """Return a table for every day asked for, of all answers in their order.

    ``bodies`` are raw, as they were spooled; an empty one (`Verdict.empty`) has no rows.
    ``downloaded_at``: epoch seconds. Raises `UnexpectedAnswerError`.
    """
    report = partner.reports[request.report]
    table = to_table(partner, request, bodies, downloaded_at)
    return split_days(table, report.spec.day_column, request.days())


def to_table(
    partner: Partner, request: Request, bodies: Sequence[bytes], downloaded_at: float
) -> Table:
    """Return one table of all answers; raises `UnexpectedAnswerError`."""
    report = partner.reports[request.report]
    schema = _schema(partner, report.name)
    context = Context(partner.completed(request), downloaded_at)
    kept = [Body(body, report.spec) for body in bodies if body]
    if report.spec.format == "csv" and kept:
        options = _csv_options(report.spec.csv)
        return concat([from_csv(_csv(body, report), options, schema, context) for body in kept])
    records: list[Any] = []
    for body in kept:
        records += body.rows(report.rows)
    return from_records(records, schema, context)


@lru_cache(maxsize=256)
def _schema(partner: Partner, report: str) -> Schema:
    return Schema.compile(partner.reports[report].spec.columns)


def _csv_options(spec: CsvSpec) -> CsvOptions:
    return CsvOptions(
        delimiter=spec.delimiter,
        quote=spec.quote,
        skip_lines=0 if spec.header_starts else spec.skip_lines,
        skip_footer_lines=spec.footer_lines,
        header=spec.header,
    )


def _csv(body: Body, report: Report) -> bytes:
    """Return the answer from its header on, where the file says how that begins."""
    data = body.data()
    spec = report.spec.csv
    if not spec.header_starts:
        return data
    name = spec.header_starts.encode()
    quoted = f"{spec.quote}{spec.header_starts}{spec.quote}".encode()
    start = 0
    for _ in range(spec.skip_lines):
        start = data.find(b"\n", start) + 1 or len(data)
    while start < len(data):
        if data.startswith((name, quoted), start):
            return data[start:]
        start = data.find(b"\n", start) + 1 or len(data)
    raise UnexpectedAnswerError(f"no line begins with {spec.header_starts!r}")
