"""JSON whose values stand in lists."""

from typing import Any

import orjson
import pytest

from reportd.errors import ConfigError, UnexpectedAnswerError
from reportd.partners.parse import to_table
from reportd.partners.partner import Partner
from tests.unit.partners.making import NOW, REPORT, answer, flow, partner, request

BASE = """
[reports.stats]
get = "https://api.acme.com/x"
rows = "{rows}"
lists = {lists}
day_column = "date"
[reports.stats.columns]
date = {{ type = "date", format = "%Y%m%d" }}
clicks = {{ type = "int64", from = "activeUsers" }}
"""
GA4 = (
    '{ names = "[dimensionHeaders, metricHeaders][].name",'
    ' values = "[dimensionValues, metricValues][].value" }'
)
"""As Google Analytics answers."""


def of(rows: str, lists: str, more: str = "") -> Partner:
    return partner("", base=BASE.format(rows=rows, lists=lists).replace("day_c", f"{more}day_c"))


def rows(of: Partner, document: Any) -> list[Any]:
    table = to_table(of, request(), [orjson.dumps(document)], NOW)
    return [
        (day.isoformat(), clicks)
        for day, clicks in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]


def ga4(*lines: tuple[str, str]) -> dict[str, Any]:
    return {
        "dimensionHeaders": [{"name": "date"}],
        "metricHeaders": [{"name": "activeUsers", "type": "TYPE_INTEGER"}],
        "rows": [
            {"dimensionValues": [{"value": day}], "metricValues": [{"value": users}]}
            for day, users in lines
        ],
    }


def test_header_and_rows_of_lists() -> None:
    """The names come from the answer, so the order is the partner's to choose."""
    assert rows(of("rows", GA4), ga4(("20251116", "5"), ("20251115", "7"))) == [
        ("2025-11-16", 5),
        ("2025-11-15", 7),
    ]
    plain = {"head": ["activeUsers", "other", "date"], "rows": [[5, None, "20251116"]]}
    assert rows(of("rows", '{ names = "head" }'), plain) == [("2025-11-16", 5)]


def test_no_rows() -> None:
    """Google leaves the key out then; JMESPath says what that means."""
    nothing = ga4()
    del nothing["rows"]

    assert rows(of("rows || `[]`", GA4), nothing) == []
    assert rows(of("rows", GA4), ga4()) == []
    with pytest.raises(UnexpectedAnswerError, match="rows: nothing, wanted a list"):
        rows(of("rows", GA4), nothing)


def test_lists_by_column() -> None:
    """Parallel lists, under their names or beside a list of those."""
    named = {"data": {"activeUsers": [5, 7], "date": ["20251116", "20251115"]}}
    apart = {"head": ["date", "activeUsers"], "data": [["20251116"], [5]]}

    assert rows(of("data", '{ by = "column" }'), named) == [("2025-11-16", 5), ("2025-11-15", 7)]
    assert rows(of("data", '{ by = "column", names = "head" }'), apart) == [("2025-11-16", 5)]
    assert rows(of("data", '{ by = "column" }'), {"data": {"activeUsers": [], "date": []}}) == []


@pytest.mark.parametrize(
    ("lists", "document", "why"),
    [
        ('{ names = "head" }', {"head": ["a"], "rows": [[1, 2]]}, "row 1: 2 values, wanted 1"),
        ('{ names = "head" }', {"head": ["a"], "rows": [{}]}, "row 1: no list"),
        ('{ names = "head" }', {"rows": []}, "lists.names: nothing"),
        ('{ names = "head" }', {"head": [1], "rows": []}, "lists.names: one of them is no text"),
        ('{ names = "head" }', {"head": ["date"], "rows": []}, "no 'activeUsers' among the names"),
        (
            '{ names = "head" }',
            {"head": ["date", "activeUsers", "date"], "rows": []},
            "column date: 'date' stands twice",
        ),
        ('{ by = "column" }', {"rows": [[1]]}, "wanted an object of lists"),
        ('{ by = "column" }', {"rows": {"a": [1], "b": [1, 2]}}, "column b: not a list as long"),
        ('{ by = "column" }', {"rows": {"a": 1}}, "column a: not a list"),
        ('{ by = "column", names = "head" }', {"head": [], "rows": [[]]}, "1 lists for 0 names"),
        ('{ names = "length(@)" }', {"rows": []}, "lists.names: a int"),
        ('{ names = "head", values = "length(`1`)" }', {"head": [], "rows": [1]}, "lists.values"),
    ],
)
def test_what_does_not_fit(lists: str, document: Any, why: str) -> None:
    """Counts and kinds that are not as announced are named."""
    with pytest.raises(UnexpectedAnswerError) as caught:
        rows(of("rows", lists), document)

    assert why in str(caught.value)


def test_pages_of_lists_are_counted() -> None:
    """A short page is the last one, in this form, too."""
    paged = of("rows", GA4, "next = { page = 1, query = 'page', size = 2 }\n")
    full = ga4(("20251116", "5"), ("20251115", "7"))

    assert flow(paged).judge({}, answer(full), NOW).next_cursor == {"page": "2", "calls": "1"}
    assert flow(paged).judge({}, answer(ga4(("20251116", "5"))), NOW).next_cursor is None


@pytest.mark.parametrize(
    ("lists", "where"),
    [
        ("{}", "reports.stats.lists.names: is missing"),
        ('{ by = "column", values = "x" }', 'reports.stats.lists.values: only with by = "row"'),
        ('{ names = "][" }', "reports.stats.lists.names: not a JMESPath"),
    ],
)
def test_declarations(lists: str, where: str) -> None:
    """Mistakes are found when the file is read."""
    with pytest.raises(ConfigError) as caught:
        of("rows", lists)

    assert where in str(caught.value)


def test_lists_are_for_json() -> None:
    """CSV has its header already."""
    with pytest.raises(ConfigError, match='lists: only with format = "json"'):
        of("rows", GA4, 'format = "jsonl"\n')


def test_what_memory_has_to_hold_is_limited() -> None:
    """Only what is read in pieces may be of any size."""
    with pytest.raises(ConfigError, match="max_answer_mib: more than 256 only where rows is a"):
        of("rows", GA4, "max_answer_mib = 257\n")
    with pytest.raises(ConfigError, match="max_answer_mib: more than 256"):
        partner(base=REPORT.replace("data[]", "data[?clicks]"), report="max_answer_mib = 257\n")
    assert partner(report="max_answer_mib = 65536\n").reports
