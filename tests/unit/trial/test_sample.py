"""Records as they came."""

import pytest

from reportd.trial.inference import compare, undeclared
from reportd.trial.sample import sample
from tests.unit.partners.making import REPORT, partner

CSV = """
[reports.stats]
get = "https://api.acme.com/v2/stats"
format = "csv"
csv = { header_starts = "Day", footer_lines = 1 }
columns = { day = { from = "Day", type = "date" } }
"""


def test_json() -> None:
    """The fields of all pages' records are looked at together."""
    report = partner().reports["stats"]

    found = sample(report, [b'{"data": [{"a": 1}]}', b"", b'{"data": [{"a": 2, "b": {"c": "x"}}]}'])

    assert 2 == found.records
    assert {"a": ("int64", 2), "b.c": ("string", 1)} == {
        place: (seen.kind, seen.count) for place, seen in found.fields.items()
    }


def test_what_a_column_picks() -> None:
    """A ``from`` that is more than a place is seen as what it comes to."""
    columns = """
[reports.stats.columns]
on = { from = "state == 'ON'", type = "bool" }
zone = { from = "'UTC'", type = "string" }
sales = { from = "actions[?kind=='sale'].value | [0]", type = "int64", optional = true }
none = "string"
"""
    report = partner(
        base=REPORT.replace('day_column = "date"\n', "").replace(
            'columns = { date = "date", clicks = "int64" }\n', columns
        )
    ).reports["stats"]
    records = b"""{"data": [{"state": "ON", "actions": [{"kind": "sale", "value": 3}]},
        {"state": "OFF", "actions": []}]}"""

    found = sample(report, [records])

    seen = {one.name: one for one in compare(report.spec.columns, found.fields, found.records)}
    kinds = {name: one.seen.kind for name, one in seen.items() if one.seen}
    assert {"on": "bool", "zone": "string", "sales": "int64", "none": ""} == kinds
    assert ["none"] == [name for name, one in seen.items() if one.suggestion]


def test_records_that_are_lists() -> None:
    """Fields without names are called by their number."""
    report = partner(base=REPORT.replace("data[]", "data")).reports["stats"]

    found = sample(report, [b'{"data": [["2026-11-01", 3]]}'])

    assert {"[0]": "date", "[1]": "int64"} == {
        place: seen.kind for place, seen in found.fields.items()
    }


NESTED = b'{"data": [{"id": "c-1", "days": [{"date": "2025-11-16", "clicks": 1}], "tags": ["x"]}]}'


def test_records_in_lists_within_rows() -> None:
    """Where rows hold them it is said what to write; then what is above them is seen, too."""
    found = sample(partner().reports["stats"], [NESTED])
    lines = list(undeclared({}, found.fields))

    assert lines[1:] == [
        'days = "json"    # or unfold = "days": its elements are the records',
        'tags = "json"',
    ]
    found = sample(partner(report='unfold = "days"\n').reports["stats"], [NESTED])
    assert list(found.fields) == ["date", "clicks", "above.id", "above.days", "above.tags"]
    assert [line.partition(" ")[0] for line in undeclared({}, found.fields)] == [
        "date",
        "clicks",
        "above_id",
        "above_tags",
    ]


def test_csv() -> None:
    """Preamble and footer are left out; a column is called as the header calls it."""
    report = partner(base=CSV).reports["stats"]
    text = '"Report: x"\n\nDay,"Ad spend (CHF)",\n2026-11-01,"1,234.50",\n2026-11-02,-,\nTotal,1,\n'

    found = sample(report, [text.encode()])

    assert 2 == found.records
    assert ("date", "1,234.50") == (
        found.fields["Day"].kind,
        found.fields["Ad spend (CHF)"].example,
    )


def test_lists_of_values() -> None:
    """A header beside rows: fields are called as the header calls them."""
    report = partner(
        base=CSV.replace('format = "csv"', 'rows = "rows"').replace(
            'csv = { header_starts = "Day", footer_lines = 1 }', 'lists = { names = "header" }'
        )
    ).reports["stats"]

    found = sample(report, [b'{"header": ["Day", "Clicks"], "rows": [["2026-11-01", 3]]}'])

    assert {"Day": "date", "Clicks": "int64"} == {
        name: seen.kind for name, seen in found.fields.items()
    }


@pytest.mark.parametrize("body", [b"<html>", b'{"data": 5}'])
def test_what_is_not_understood(body: bytes) -> None:
    """What came before a broken answer is shown, and why there is no more."""
    found = sample(partner().reports["stats"], [b'{"data": [{"a": 1}]}', body])

    assert 1 == found.records
    assert "" != found.problem
