"""Records in lists within rows, and what stands above them."""

from typing import Any

import orjson
import pytest

from reportd.errors import ConfigError, UnexpectedAnswerError
from reportd.partners import streaming, unpacking
from reportd.partners.parse import to_table
from reportd.partners.partner import Partner
from tests.unit.partners.making import NOW, partner, request

STATS = """
[reports.stats]
get = "https://api.acme.com/x"
rows = "stats[].stat"
{more}
day_column = "date"
[reports.stats.columns]
date = "date"
clicks = "int64"
{columns}
"""
NESTED = {
    "stats": [
        {
            "stat": {
                "id": "c-1",
                "ads": [{"id": "a-1", "days": [{"date": "2025-11-16", "clicks": 1}]}],
            }
        },
        {
            "stat": {
                "id": "c-2",
                "ads": [
                    {
                        "id": "a-2",
                        "days": [
                            {"date": "2025-11-16", "clicks": 2},
                            {"date": "2025-11-17", "clicks": 3},
                        ],
                    },
                    {"id": "a-3", "days": []},
                    {"id": "a-4"},
                ],
            }
        },
        {"stat": {"id": "c-3", "ads": None}},
    ]
}
ABOVE = """
ad = { from = "above.id", type = "string" }
campaign = { from = "above.above.id", type = "string" }
"""


def of(more: str, columns: str = "") -> Partner:
    return partner("", base=STATS.format(more=more, columns=columns))


def rows(of: Partner, document: Any) -> list[tuple[Any, ...]]:
    table = to_table(of, request(), [orjson.dumps(document)], NOW)
    return list(zip(*(column.to_pylist() for column in table.columns[1:]), strict=True))


@pytest.mark.parametrize("is_large", [False, True])
def test_what_is_above_is_within_reach(is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """List by list; one that is empty, or may be missing, has no records."""
    if is_large:
        monkeypatch.setattr(unpacking, "IN_MEMORY_BYTES", 50)
        monkeypatch.setattr(streaming, "PIECE_BYTES", 60)

    found = rows(of('unfold = ["ads || `[]`", "days || `[]`"]', ABOVE), NESTED)

    assert found == [(1, "a-1", "c-1"), (2, "a-2", "c-2"), (3, "a-2", "c-2")]


def test_the_list_is_a_jmespath() -> None:
    """So it may lie deep, and be of those that something is true of."""
    stat = {"breakdown": {"ads": [{"x": 1, "date": "2025-11-16", "clicks": 1}, {"x": 2}]}}

    assert rows(of('unfold = "breakdown.ads[?x == `1`]"'), {"stats": [{"stat": stat}]}) == [(1,)]


def test_lines_have_lists_too() -> None:
    """Each line is a row, or holds one where ``rows`` says."""
    lines = [{"id": f"a-{n}", "days": [{"date": "2025-11-16", "clicks": n}] * n} for n in range(3)]
    line = b"\n".join(orjson.dumps({"stats": one}) for one in lines)
    of_lines = partner(
        "",
        base=STATS.format(
            more='unfold = "days"\nformat = "jsonl"',
            columns='ad = { from = "above.id", type = "string" }',
        ).replace("stats[].stat", "stats"),
    )

    table = to_table(of_lines, request(), [line], NOW)

    assert table.column("ad").to_pylist() == ["a-1", "a-2", "a-2"]


@pytest.mark.parametrize(
    ("stat", "why"),
    [
        ({"days": {"date": "2025-11-16"}}, "unfold: a dict at 'days', wanted a list"),
        ({"days": None}, r"unfold: nothing at 'days', wanted a list; .*, write days \|\| `\[\]`"),
        ({"day": []}, "unfold: nothing at 'days', wanted a list"),
        ({"days": ["2025-11-16"]}, "unfold: a str in 'days', wanted objects"),
    ],
)
def test_what_is_no_list_of_objects(stat: Any, why: str) -> None:
    """It is refused, with what is there."""
    with pytest.raises(UnexpectedAnswerError, match=why):
        rows(of('unfold = "days"'), {"stats": [{"stat": stat}]})


def test_an_expression_that_does_not_fit() -> None:
    """A class, as ever."""
    with pytest.raises(UnexpectedAnswerError, match="unfold: "):
        rows(of('unfold = "sort(days)"'), {"stats": [{"stat": {"days": 1}}]})


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ('lists = { by = "column" }', "unfold: not with lists"),
        ('format = "csv"', 'unfold: not with format = "csv"'),
    ],
)
def test_where_there_are_no_objects(more: str, why: str) -> None:
    """Lists of values and CSV have nothing to unfold."""
    with pytest.raises(ConfigError, match=why):
        of(f'unfold = "days"\n{more}')
