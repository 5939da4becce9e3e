"""What values look like, and what is suggested to whoever writes a partner file."""

import tomllib
from typing import Any

import pytest

from reportd.sinks.columns import ColumnSpec
from reportd.trial.inference import compare, fields_of, look, undeclared


@pytest.mark.parametrize(
    ("name", "values", "kind", "declaration"),
    [
        ("clicks", [1, 2, None], "int64", 'clicks = "int64"'),
        ("clicks", ["1", "22", "-"], "int64", 'clicks = "int64"'),
        ("cost_micros", [1], "int64",
         'cost_micros = { type = "decimal(18,6)", divide = 1000000 }'),
        ("spend", ["12.50"], "float64", 'spend = { type = "decimal(18,6)", round = true }'),
        ("cost", [12_500_000], "int64", 'cost = { type = "decimal(18,6)", divide = 1000000 }'),
        ("ctr", [0.5, 1], "float64", 'ctr = "float64"'),
        ("ctr", ["1.5%", "--"], "float64", 'ctr = { type = "float64", percent = true }'),
        ("views", ["1,234", "5"], "int64", 'views = { type = "int64", thousands = "," }'),
        ("views", ["1.234", "5"], "float64",
         'views = { type = "int64", thousands = ".", decimal_point = "," }'),
        ("ctr", ["0.123"], "float64", 'ctr = "float64"'),
        ("ctr", ["1,2 %"], "float64",
         'ctr = { type = "float64", percent = true, decimal_point = "," }'),
        ("fee", ["1.234,56", "7"], "float64",
         'fee = { type = "float64", thousands = ".", decimal_point = "," }'),
        ("fee", ["12,5"], "float64", 'fee = { type = "float64", decimal_point = "," }'),
        ("day", ["2026-11-01"], "date", 'day = "date"'),
        ("day", ["20261101"], "date", 'day = { type = "date", format = "%Y%m%d" }'),
        ("day", ["11/30/2026"], "date", 'day = { type = "date", format = "%m/%d/%Y" }'),
        ("day", ["1/2/2026", "30/11/2026"], "date", 'day = { type = "date", format = "%d/%m/%Y" }'),
        ("day", ["2026/9/10"], "date", 'day = { type = "date", format = "%Y/%m/%d" }'),
        ("day", ["30.11.2026"], "date", 'day = { type = "date", format = "%d.%m.%Y" }'),
        ("at", ["2026-11-01T10:00:00Z"], "timestamp", 'at = "timestamp"'),
        ("campaign_id", [17], "string", 'campaign_id = "string"'),
        ("campaignId", ["17"], "string", 'campaignId = "string"'),
        ("on", [True], "bool", 'on = "bool"'),
        ("tags", [["a"]], "json", 'tags = "json"'),
        ("name", ["x", "1"], "string", 'name = "string"'),
        ("name", ["x", 1], "string", 'name = "string"'),
        ("none", [None, "--"], "", 'none = "string"'),
    ],
)  # fmt: skip
def test_values(name: str, values: list[Any], kind: str, declaration: str) -> None:
    """A kind is what every value fits, and the line can be pasted."""
    seen = look(name, values)

    assert (kind, declaration) == (seen.kind, seen.declaration(name, name))
    (declared,) = tomllib.loads(declaration).values()
    ColumnSpec.model_validate(declared)


def spec(**options: Any) -> ColumnSpec:
    return ColumnSpec.model_validate(options)


@pytest.mark.parametrize(
    ("column", "records", "wanted"),
    [
        (spec(type="int64"), [{"cost": 12_000_000}],
         'looks like int64 micros: cost = { type = "decimal(18,6)", divide = 1000000 }'),
        (spec(type="decimal(18,6)", divide=1_000_000), [{"cost": 12_000_000}], ""),
        (spec(type="int64"), [{"cost": 1}, {}], "absent in 1 of 2: optional = true"),
        (spec(type="int64", optional=True), [{"cost": 1}, {}], ""),
        (spec(type="int64"), [{"costs": 1}], "no record has it; did you mean 'costs'?"),
        (spec(type="int64", optional=True), [{"other": 1}], ""),
        (spec(type="float64"), [{"cost": 1.5}], "money: a decimal loses no cent"),
        (spec(type="int64"), [{"cost": "n/a"}], 'looks like string: cost = "string"'),
        (spec(type="decimal(9,2)"), [{"cost": "1.234,56"}],
         "a decimal comma:"
         ' cost = { type = "decimal(9,2)", thousands = ".", decimal_point = "," }'),
        (spec(type="decimal(9,2)", thousands=".", decimal_point=","), [{"cost": "1.234,56"}], ""),
        (spec(type="decimal(9,2)"), [{"cost": "1,234.5"}],
         'thousands separators: cost = { type = "decimal(9,2)", thousands = "," }'),
        (spec(type="int64"), [{"cost": "1.234"}],
         "dots: decimals, or thousands? where 1.234 is 1234:"
         ' cost = { type = "int64", thousands = ".", decimal_point = "," }'),
        (spec(type="int64", thousands=".", decimal_point=","), [{"cost": "1.234"}], ""),
        (spec(type="timestamp"), [{"cost": 1_763_784_000}],
         'counted from 1970 on: cost = { type = "timestamp", format = "epoch" }'),
        (spec(type="date", format="epoch"), [{"cost": "1763784000000"}],
         'counted from 1970 on: cost = { type = "date", format = "epoch_ms" }'),
        (spec(type="timestamp", format="epoch"), [{"cost": 1_763_784_000}], ""),
        (spec(type="string"), [{"cost": True}], "all are bool"),
        (spec(type="date"), [{"cost": "2026/9/10"}],
         'days like %Y/%m/%d: cost = { type = "date", format = "%Y/%m/%d" }'),
        (spec(type="date", format="%Y/%m/%d"), [{"cost": "2026/9/10"}], ""),
        (spec(type="date"), [{"cost": "10 Sep 2026"}],
         'not ISO 8601; say how it is written, as format = "%d %b %Y"'),
        (spec(type="date"), [{"cost": "20261101"}],
         'days like 20261122: cost = { type = "date", format = "%Y%m%d" }'),
        (spec(type="date", format="%Y%m%d"), [{"cost": "20261101"}], ""),
        (spec(type="date"), [{"cost": "2026-11-20T00:00:00.000+01:00"}],
         "an instant; its day, as it is written:"
         ' cost = { type = "date", format = "%Y-%m-%dT%H:%M:%S.%f%z" }'),
        (spec(type="date"), [{"cost": "2026-11-20 00:00"}],
         "an instant; its day, as it is written:"
         ' cost = { type = "date", format = "%Y-%m-%d %H:%M" }'),
        (spec(type="int64"), [{"cost": None}], ""),
        (spec(type="int64"), [], ""),
    ],
)  # fmt: skip
def test_suggestions(column: ColumnSpec, records: list[Any], wanted: str) -> None:
    """What does not fit is said in words that mend it; what fits is not talked about."""
    (found,) = compare({"cost": column}, fields_of(records), len(records))

    assert wanted == found.suggestion


def test_inner_fields_and_the_request_s_own() -> None:
    """A place within a record is found; what comes from the request is not looked for."""
    columns = {
        "cost": spec(**{"from": "metrics.cost", "type": "float64"}),
        "account": spec(request="account"),
    }

    cost, account = compare(columns, fields_of([{"metrics": {"cost": 1, "x": 2}}]), 1)

    assert cost.seen is not None
    assert ("int64", "1") == (cost.seen.kind, cost.seen.example)
    assert (None, "request: account") == (account.seen, account.source)


def test_what_is_not_declared_can_be_pasted() -> None:
    """Each field that no column takes comes as a line, with a name that a column may have."""
    records = [{"id": 1, "metrics": {"allConversions": 2.5, "clicks": 1}, "a-b": "x", "1st": True}]
    columns = {"clicks": spec(**{"from": "metrics.clicks", "type": "int64"})}

    assert [
        'id = "string"',
        'metrics_all_conversions = { from = "metrics.allConversions", type = "float64" }',
        'a_b = { from = "\\"a-b\\"", type = "string" }',
        'c_1st = { from = "\\"1st\\"", type = "bool" }',
    ] == list(undeclared(columns, fields_of(records)))
