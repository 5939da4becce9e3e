"""TOML that is written is TOML that is read."""

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.config.toml import toml_lines

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
LEAVES = st.one_of(
    TEXTS, st.integers(-(2**60), 2**60), st.booleans(), st.floats(-1e9, 1e9), st.dates()
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_it_comes_back(table: dict[str, Any]) -> None:
    """Whatever a file says: written and read, it says the same."""
    assert table == tomllib.loads("\n".join(toml_lines(table)))


def test_it_reads_well() -> None:
    """Small things stay in a line, large ones get a heading, lists of rules a line each."""
    columns = {f"column_{number}": "string" for number in range(9)}
    table = {
        "hosts": ["api.acme.com"],
        "slow_down": [{"status": 200, "body": "code == `40100`", "wait_seconds": 60.0 + number}
                      for number in range(2)],
        "reports": {"stats": {"get": "https://api.acme.com", "rows": "data", "columns": columns}},
    }  # fmt: skip

    assert [
        'hosts = ["api.acme.com"]',
        "slow_down = [",
        '    { status = 200, body = "code == `40100`", wait_seconds = 60 },',
        '    { status = 200, body = "code == `40100`", wait_seconds = 61 },',
        "]",
        "",
        "[reports.stats]",
        'get = "https://api.acme.com"',
        'rows = "data"',
        "",
        "[reports.stats.columns]",
        *[f'column_{number} = "string"' for number in range(9)],
    ] == list(toml_lines(table))


@pytest.mark.parametrize("option", ["x" * 10, "x" * 200])
def test_order_is_kept_where_it_means_something(option: str) -> None:
    """Columns and rules come in their order, however long one of them is."""
    long = {"type": "string", "from": option}
    rules = [{"text": option}]
    table = {
        "quota": rules,
        "empty": [{"status": 404}],
        "reports": {"stats": {"columns": {"a": long, "b": "date", "c": long}}},
    }

    found = tomllib.loads("\n".join(toml_lines(table, ["columns"])))

    assert _order(table) == _order(found)


def _order(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(key, _order(inner)) for key, inner in value.items()]
    return value
