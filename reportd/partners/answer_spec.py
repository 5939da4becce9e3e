"""What answers look like, as a partner file declares it.

Pure declarations; part of `reportd.partners.report_spec`.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from reportd.config.base import Section, as_tuple
from reportd.config.problems import FieldProblems, Location
from reportd.partners.fields import Jmes
from reportd.partners.picking import Parts, Pick, compile_pick, looks_at_rows, rows_path

Format = Literal["json", "jsonl", "csv"]
Members = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Nulls = Annotated[tuple[str, ...] | None, BeforeValidator(as_tuple)]

WHOLE_MOST_MIB = 8
"""The largest JSON that memory has to hold: parsed it takes up to 24 times as much."""


class CsvSpec(Section):
    """How a CSV answer is written."""

    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    """What stands between values."""
    quote: Annotated[str, StringConstraints(max_length=1)] = '"'
    """Empty: nothing is quoted."""
    skip_lines: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Lines before the header."""
    header_starts: Annotated[str, StringConstraints(max_length=200)] = ""
    """Lines are skipped until one starts with this column's name, quoted or not."""
    footer_lines: Annotated[int, Field(ge=0, le=1000)] = 0
    """Lines after the last row, empty ones not counted."""
    header: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """The columns' names, where the answer has no header."""


class ListsSpec(Section):
    """JSON whose values stand in lists, without the columns' names beside each."""

    by: Literal["row", "column"] = "row"
    """What ``rows`` finds: a list of rows, or one list of values a column."""
    names: Jmes | None = None
    """Where the answer names the columns, in order; by column: without it, the keys are names."""
    values: Jmes | None = None
    """row: what of a row its values are; without it the row is the list of them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.by == "row" and self.names is None:
            raise FieldProblems({"names": "is missing; say where the answer names its columns"})
        if self.by == "column" and self.values is not None:
            raise FieldProblems({"values": 'only with by = "row"'})
        return self


def rows_in_pieces(rows: str, lists: ListsSpec | None) -> tuple[Parts, Pick] | None:
    """Return where rows can be cut out of a large JSON document, and what a piece of them gives.

    None: it is parsed at once.
    """
    found = rows_path(rows)
    if found is None or lists is None:
        return found
    is_apart = lists.by == "row" and not looks_at_rows(compile_pick(lists.names or "@"), found[0])
    return found if is_apart else None


def answer_problems(
    form: Format, given: frozenset[str] | set[str], *, has_lists: bool
) -> Iterator[tuple[Location, str]]:
    """Yield what of the keys that were given is not for answers of a form."""
    if form == "csv" and "rows" in given:
        yield ("rows",), 'not with format = "csv"'
    if form != "csv" and "csv" in given:
        yield ("csv",), 'only with format = "csv"'
    if "unfold" in given and (form == "csv" or has_lists):
        yield ("unfold",), "not with lists" if has_lists else 'not with format = "csv"'
    if form != "json" and has_lists:
        yield ("lists",), 'only with format = "json"'
