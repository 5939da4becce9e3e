"""How columns are declared, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from reportd.sinks.columns import ColumnSpec, column_problems


def test_a_text_is_short_for_the_type() -> None:
    """``clicks = "int64"`` needs no table."""
    assert ColumnSpec.model_validate("int64") == ColumnSpec(type="int64")


@pytest.mark.parametrize(
    ("request_field", "kind"),
    [("account", "string"), ("first_day", "date"), ("downloaded_at", "timestamp")],
)
def test_the_requests_own_have_a_type_already(request_field: str, kind: str) -> None:
    """So ``account = { request = "account" }`` is enough."""
    assert ColumnSpec(request=request_field).kind == kind


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "type: missing; one of string, int64"),
        ({"type": "int"}, "type: one of"),
        ({"type": "decimal(39,2)"}, "1 to 38"),
        ({"type": "decimal(5,6)"}, "s of at most p"),
        ({"type": "string", "from": "a", "request": "account"}, "not together"),
        ({"request": "secret"}, "request: one of"),
        ({"request": "params."}, "request: one of"),
        ({"type": "int64", "divide": 10}, "divide"),
        ({"type": "decimal(9,2)", "divide": 1024}, "power of ten"),
        ({"type": "decimal(9,2)", "divide": 10**19}, "at most 10^18"),
        ({"type": "float64", "round": True}, "round"),
        ({"type": "string", "thousands": ","}, "for numbers only"),
        ({"type": "int64", "thousands": "."}, "the same as decimal_point"),
        ({"type": "string", "format": "%Y"}, "format"),
        ({"type": "date", "format": "%Q"}, "format: 'Q' is a bad directive"),
        ({"type": "timestamp", "format": "%Y-%"}, "format: stray %"),
        ({"type": "date", "format": "%Y %Y"}, "format: a directive that stands twice"),
        ({"type": "date", "zone": "UTC"}, "zone: for timestamps only"),
        ({"type": "timestamp", "zone": "Mars/Olympus"}, "not an IANA"),
        ({"type": "timestamp", "zone": "../../etc/passwd"}, "not an IANA"),
        ({"type": "string", "widht": 3}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], problem: str) -> None:
    """At the start, with its name, not at the first answer."""
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(").replace("^", r"\^")):
        ColumnSpec.model_validate(fields)


def test_columns_are_judged_together() -> None:
    """Names that differ by case meet in most query engines; the day must be a date."""
    columns = {
        "Clicks": ColumnSpec(type="int64"),
        "clicks": ColumnSpec.model_validate({"type": "int64", "from": "a[?"}),
        "day": ColumnSpec(type="string"),
        "day2": ColumnSpec(type="date", optional=True),
    }

    assert column_problems(columns, "csv", None) == [
        "columns.clicks: differs from Clicks by case only"
    ]
    assert any("not a JMESPath" in one for one in column_problems(columns, "json", None))
    assert "day_column: its type is not date" in column_problems(columns, "csv", "day")
    assert any("optional" in one for one in column_problems(columns, "csv", "day2"))
    assert "day_column: not among the columns" in column_problems(columns, "csv", "day3")
