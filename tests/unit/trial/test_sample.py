"""Records as they came."""

import pytest

from reportd.trial.sample import sample
from tests.unit.partners.making import partner

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
