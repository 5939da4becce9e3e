"""The first records of an answer, before any column is made of them. Pure.

For people who write a partner file: what does not fit its columns has to be looked at, too.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from reportd.errors import UnexpectedAnswerError
from reportd.model.content import Content
from reportd.partners.body import Body
from reportd.partners.partner import Report
from reportd.partners.picking import Pick, PickError, compile_pick
from reportd.trial.inference import Seen, fields_of, look, place_within

RECORDS_MOST = 1000
PLACES_MOST = 5
DEPTH_MOST = 5
_TEXT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """What was looked at."""

    fields: Mapping[str, Seen]
    """By their place: what a column's ``from`` names."""
    records: int
    problem: str = ""
    """Why there is no more: the answer was not understood."""


def sample(report: Report, bodies: Sequence[Content]) -> Sample:
    """Return the fields of the first records of a request's answers."""
    records: list[Any] = []
    problem = ""
    for raw in bodies:
        if raw and len(records) < RECORDS_MOST:
            try:
                wanted = RECORDS_MOST - len(records)
                records += islice(_records(report, Body(raw, report.spec)), wanted)
            except UnexpectedAnswerError as error:
                problem = str(error)
                break
    if report.spec.format != "csv" and report.spec.lists is None:
        fields = fields_of(records)
        return Sample(fields | _picked(report, records, fields), len(records), problem)
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    named = {name: look(name, found) for name, found in values.items()}
    return Sample(named, len(records), problem)


def _picked(report: Report, records: Sequence[Any], fields: Mapping[str, Seen]) -> dict[str, Seen]:
    """Return what columns see whose ``from`` is more than a place in a record."""
    found = {}
    for name, spec in report.spec.columns.items():
        source = spec.from_ or name
        if spec.request is None and source not in fields:
            values = [_value(compile_pick(source), record) for record in records]
            given = [value for value in values if value is not None]
            if given:
                found[source] = look(name, given)
    return found


def _value(pick: Pick, record: Any) -> Any:
    try:
        return pick(record)
    except PickError:
        return None


def places_of_records(report: Report, bodies: Sequence[Content]) -> list[str]:
    """Return where the first answer holds lists of objects, as ``rows`` says it; longest first.

    For whoever has not found them yet; nothing, where it is no JSON.
    """
    body = next((Body(raw, report.spec) for raw in bodies if raw), None)
    if body is None or report.spec.format != "json":
        return []
    try:
        found = list(_lists_of_objects(body.document(), "", 0))
    except UnexpectedAnswerError:
        return []
    return [place for _, place in sorted(found, key=lambda one: -one[0])[:PLACES_MOST]]


def _lists_of_objects(value: Any, place: str, depth: int) -> Iterator[tuple[int, str]]:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        yield len(value), f"{place}[]" if place else "@"
    elif isinstance(value, dict) and depth < DEPTH_MOST:
        for key, inner in value.items():
            yield from _lists_of_objects(inner, place_within(place, key), depth + 1)


def _records(report: Report, body: Body) -> Iterator[Any]:
    if report.spec.format == "csv":
        yield from _csv_records(report, body)
    elif report.spec.lists is not None:
        for part in body.listed(report.rows):
            for row in zip(*part.values, strict=True):
                yield dict(zip(part.names, row, strict=True))
    else:
        for batch in body.records(report.rows, report.unfold):
            yield from batch


def _csv_records(report: Report, body: Body) -> Iterator[dict[str, str]]:
    spec = report.spec.csv
    lines = io.StringIO(body.head(_TEXT_BYTES).decode("utf-8", "replace"), newline="")
    for _ in range(spec.skip_lines):
        lines.readline()
    reader = csv.reader(
        lines,
        delimiter=spec.delimiter,
        quotechar=spec.quote or None,
        quoting=csv.QUOTE_MINIMAL if spec.quote else csv.QUOTE_NONE,
    )
    try:
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UnexpectedAnswerError(f"not CSV: {error}") from None
    if spec.footer_lines:
        rows = rows[: -spec.footer_lines]
    header: Sequence[str] = spec.header
    if not header:
        while rows and spec.header_starts and rows[0][0] != spec.header_starts:
            rows.pop(0)
        if not rows:
            return
        header = rows.pop(0)
    for row in rows:
        yield {name.strip(): cell for name, cell in zip(header, row, strict=False)}
