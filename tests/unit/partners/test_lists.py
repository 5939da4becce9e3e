"""JSON whose values stand in lists."""

from typing import Any

import orjson
import pytest

from reportd.errors import ConfigError, UnexpectedAnswerError
from reportd.partners import streaming, unpacking
from reportd.partners.parse import to_table
from reportd.partners.partner import Partner
from tests.unit.partners.making import NOW, REPORT, answer, flow, partner, request

MIB = 1024 * 1024
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

    following = flow(paged).judge({}, answer(full), NOW).next_cursor or {}
    assert (following["page"], following["calls"]) == ("2", "1")
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


@pytest.mark.parametrize(
    ("rows", "lists"),
    [
        ("data[0:9]", ""),
        ("rows", '{ by = "column" }'),
        ("rows", '{ names = "rows[0]" }'),
        ("@", '{ names = "[0]" }'),
    ],
)
def test_what_memory_has_to_hold_is_limited(rows: str, lists: str) -> None:
    """Only what is read in pieces may be of any size."""
    given = f"lists = {lists}\n" if lists else ""
    base = REPORT.replace('rows = "data[]"', f'rows = "{rows}"\n{given}')
    with pytest.raises(ConfigError, match="max_answer_mib: at most 8 where memory has to hold all"):
        partner(base=base, report="max_answer_mib = 9\n")

    assert partner(base=base).reports["stats"].spec.max_answer_bytes == 8 * MIB


@pytest.mark.parametrize(
    ("rows", "lists"),
    [("data[]", ""), ("rows || `[]`", GA4), ("values(@)[]", ""), ("data[?clicks].x", "")],
)
def test_what_is_read_in_pieces(rows: str, lists: str) -> None:
    """It may be of any size."""
    given = f"lists = {lists}\n" if lists else ""
    base = REPORT.replace('rows = "data[]"', f'rows = "{rows}"\n{given}')
    large = partner(base=base, report="max_answer_mib = 65536\n")

    assert large.reports["stats"].spec.max_answer_bytes == 65_536 * MIB


def test_large_lists_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names may stand behind the rows; each piece's rows are as wide as they say."""
    monkeypatch.setattr(unpacking, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(streaming, "PIECE_BYTES", 70)
    lines = [(f"202511{1 + number % 28:02d}", f"{number}") for number in range(60)]
    found = ga4(*lines)
    behind = {"rows": found.pop("rows"), **found}

    assert rows(of("rows || `[]`", GA4), behind) == [
        (f"{day[:4]}-{day[4:6]}-{day[6:]}", int(users)) for day, users in lines
    ]
    behind["rows"][50]["metricValues"].append({"value": "1"})
    with pytest.raises(UnexpectedAnswerError, match=r"row \d+: 3 values, wanted 2"):
        rows(of("rows", GA4), behind)
