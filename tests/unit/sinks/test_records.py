"""JSON records become typed columns, or an error that names column and row."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import UnexpectedAnswerError
from reportd.sinks.table import from_records
from tests.unit.sinks.making import a_context, a_schema


def one_column(spec: Any, values: list[Any], **fields: Any) -> list[Any]:
    """Return a column's values, converted."""
    records = [{"x": value} for value in values]
    table = from_records(records, a_schema({"x": spec}), a_context(**fields))
    return list(table.column("x").to_pylist())


@pytest.mark.parametrize(
    ("spec", "values", "expected"),
    [
        ("int64", [1, "2", 3.0, None, "", "-", "--"], [1, 2, 3, None, None, None, None]),
        ("int64", ["9223372036854775807"], [2**63 - 1]),
        ("float64", [1, 0.1, "2.5", "1e3", None], [1.0, 0.1, 2.5, 1000.0, None]),
        ("float64", [2**60 + 1], [float(2**60 + 1)]),
        ("bool", [True, "false", "Yes", "0", None], [True, False, True, False, None]),
        ("string", ["a", 5, 1.5, True, None, ""], ["a", "5", "1.5", "true", None, ""]),
        ("json", [[1, {"a": "b"}], "t", None], ['[1,{"a":"b"}]', '"t"', None]),
        ("date", ["2026-11-21", None], [date(2026, 11, 21), None]),
        (
            "date",
            ["2026-11-21", "--", " 2026-11-22 "],
            [date(2026, 11, 21), None, date(2026, 11, 22)],
        ),
        (
            "decimal(18,6)",
            [1, "1.5", 0.1, None],
            [Decimal(1), Decimal("1.5"), Decimal("0.1"), None],
        ),
        ({"type": "date", "format": "%Y%m%d"}, ["20261121", 20261122], [21, 22]),
        ({"type": "date", "format": "%Y-%m-%d"}, ["2026-1-2"], [2]),
        ({"type": "date", "format": "epoch_ms"}, [1_700_000_000_000], [14]),
        ({"type": "string", "null": ["-"]}, ["-", "--", ""], [None, "--", ""]),
        ({"type": "int64", "null": ["n/a"]}, ["n/a", "1"], [None, 1]),
        ({"type": "int64", "thousands": ","}, ["1,234,567", "1,00,000", "12"], None),
        ({"type": "float64", "percent": True}, ["12.5 %", "3%"], [12.5, 3.0]),
    ],
)
def test_values_convert(spec: Any, values: list[Any], expected: list[Any] | None) -> None:
    """Numbers as texts, markers of no value, other date formats."""
    found = one_column(spec, values)
    if isinstance(spec, dict) and spec["type"] == "date":
        found = [day.day for day in found]

    assert found == (expected if expected is not None else [1234567, 100000, 12])


@pytest.mark.parametrize(
    ("spec", "values", "expected"),
    [
        ({"divide": 1_000_000}, [1_500_000, "1", -1], ["1.500000", "0.000001", "-0.000001"]),
        ({"divide": 1_000_000}, [2**62], ["4611686018427.387904"]),
        ({"divide": 100}, ["12.34"], ["0.123400"]),
        ({"divide": 100, "percent": True}, ["12.5%"], ["0.125000"]),
        ({"thousands": ".", "decimal_point": ","}, ["1.234.567,25"], ["1234567.250000"]),
        ({"thousands": "\u00a0", "decimal_point": ","}, ["1\u00a0234,5"], ["1234.500000"]),
        ({"round": True}, [1014492.7536231884, "1.5e-7"], ["1014492.753623", "0.000000"]),
        ({"round": True}, ["0.0000005", "0.0000015"], ["0.000000", "0.000002"]),
        ({"round": True, "divide": 10**6}, [1234567.8], ["1.234568"]),
    ],
)
def test_money_is_exact(spec: dict[str, Any], values: list[Any], expected: list[str]) -> None:
    """Dividing moves the point; no float is ever computed with."""
    found = one_column({"type": "decimal(20,6)", **spec}, values)

    assert [str(value) for value in found] == expected


@pytest.mark.parametrize("kind", ["string", "decimal(38,0)", "int64"])
@pytest.mark.parametrize("number", ["123456789012345678901", "-9223372036854775809"])
def test_numbers_that_json_cannot_carry(kind: str, number: str) -> None:
    """An id of too many digits is a float when it is read: it is named, not changed."""
    values = [1, orjson.loads(number)]

    with pytest.raises(UnexpectedAnswerError, match="column x, row 2"):
        one_column(kind, values)
    assert one_column("float64", values) == [1.0, float(number)]


@given(st.lists(st.integers(-(10**18) + 1, 10**18 - 1), max_size=20), st.integers(1, 18))
def test_dividing_by_a_power_of_ten_is_exact(micros: list[int], power: int) -> None:
    """Whatever the number and the power, as a number or as a text."""
    spec = {"type": "decimal(38,18)", "divide": 10**power}
    expected = [Decimal(value).scaleb(-power) for value in micros]

    assert one_column(spec, micros) == expected
    assert one_column(spec, [str(value) for value in micros]) == expected


@pytest.mark.parametrize(
    ("zone", "text", "hour"),
    [
        (None, "2026-11-21T09:00:00+02:00", 7),
        (None, "2026-11-21T09:00:00Z", 9),
        ("UTC", "2026-11-21 09:00:00", 9),
        ("account", "2026-11-21 09:00:00", 8),
        ("account", "2026-11-21T09:00:00Z", 9),
        ("account", "2026-10-25 02:30:00", 0),
        ("account", "2026-03-29 02:30:00", 1),
    ],
)
def test_timestamps_are_instants(zone: str | None, text: str, hour: int) -> None:
    """A text without a zone needs one declared; an hour that comes twice or never stops nobody."""
    spec = {"type": "timestamp", **({"zone": zone} if zone else {})}
    (found,) = one_column(spec, [text], timezone="Europe/Zurich")

    assert found.hour == hour
    assert found.utcoffset().total_seconds() == 0


def test_formatted_timestamps_take_the_zone_too() -> None:
    """With a strptime format as with ISO 8601."""
    spec = {"type": "timestamp", "format": "%d.%m.%Y %H:%M", "zone": "account"}
    (found,) = one_column(spec, ["21.11.2026 09:00"], timezone="Europe/Zurich")

    assert found == datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "bad"),
    [
        ("int64", "x"),
        ("int64", 1.5),
        ("int64", "1.0"),
        ("int64", 2**63),
        ("int64", "0x10"),
        ("int64", True),
        ("int64", [1]),
        ("float64", "nan"),
        ("float64", "1,5"),
        ("bool", 2),
        ("date", "2026-02-30"),
        ("date", "21.11.2026"),
        ("timestamp", "2026-11-21 09:00:00"),
        ("string", {"a": 1}),
        ("decimal(5,2)", "1.555"),
        ("decimal(5,2)", 1000),
        ("decimal(5,2)", "1e40"),
        ({"type": "int64", "thousands": ","}, "1,5"),
        ({"type": "float64", "decimal_point": ","}, "1.5"),
        ({"type": "decimal(9,2)", "divide": 1_000_000}, 123_456),
        ({"type": "date", "format": "%Y%m%d"}, "2026-11-21"),
    ],
)
def test_what_does_not_convert_is_named_by_column_and_row(spec: Any, bad: Any) -> None:
    """Never guessed, never cut off; rows count from 1."""
    with pytest.raises(UnexpectedAnswerError, match=r"^column x, row 3: "):
        one_column(spec, [None, None, bad, None])


def test_an_error_shows_little_of_the_value() -> None:
    """It goes into logs and dead letters."""
    with pytest.raises(UnexpectedAnswerError) as caught:
        one_column("int64", ["\n" + "x" * 10_000])

    assert len(str(caught.value)) < 150
    assert str(caught.value).isprintable()


def test_text_that_is_not_unicode_is_an_error() -> None:
    """A lone surrogate is JSON, but no text."""
    with pytest.raises(UnexpectedAnswerError, match="column x: not UTF-8"):
        one_column("string", ["\ud800"])


def test_nested_values_are_picked_by_path_or_expression() -> None:
    """Names and indexes, and any JMESPath beyond them."""
    schema = a_schema(
        {
            "device": {"type": "string", "from": "dimensionValues[0].value"},
            "last": {"type": "string", "from": "dimensionValues[-1].value"},
            "quoted": {"type": "int64", "from": '"Clicks (all)"'},
            "day": {
                "type": "date",
                "from": "join('-', [to_string(d.y), to_string(d.m), to_string(d.d)])",
                "format": "%Y-%m-%d",
            },
        }
    )
    record = {
        "dimensionValues": [{"value": "phone"}, {"value": "CH"}],
        "Clicks (all)": 3,
        "d": {"y": 2026, "m": 1, "d": 2},
        "nobody asked": "for this",
    }

    (found,) = from_records([record], schema, a_context()).to_pylist()

    assert found == {"device": "phone", "last": "CH", "quoted": 3, "day": date(2026, 1, 2)}


@pytest.mark.parametrize("source", ["a.b", "a.b[0]", "a.[b][0]", "keys(a)[0] && a.b"])
@pytest.mark.parametrize("record", [{}, {"a": None}, {"a": {}}, {"a": {"b": None}}])
def test_a_missing_column_is_an_error_unless_optional(source: str, record: dict[str, Any]) -> None:
    """A partner that renames a field must not fill a month with nothing."""
    whole = {"a": {"b": ["1"]}}
    strict = a_schema({"x": {"type": "json", "from": source}})
    lax = a_schema({"x": {"type": "json", "from": source, "optional": True}})
    if (source, record) == ("a.b", {"a": {"b": None}}):
        assert from_records([record], strict, a_context()).to_pylist() == [{"x": None}]
        return

    with pytest.raises(UnexpectedAnswerError, match=r"column x, row 2: (missing|\w+Error in)"):
        from_records([whole, record], strict, a_context())
    if source != "keys(a)[0] && a.b":
        assert from_records([record], lax, a_context()).column("x").null_count == 1


@pytest.mark.parametrize("bad", [None, 1, "text", [1]])
def test_a_record_that_is_no_object_is_an_error(bad: Any) -> None:
    """With its row."""
    with pytest.raises(UnexpectedAnswerError, match="row 2: not a JSON object"):
        from_records([{"x": 1}, bad], a_schema({"x": "int64"}), a_context())


def test_the_requests_own_stand_in_every_row() -> None:
    """Account, currency, run, when it was downloaded, parameters and attributes."""
    schema = a_schema(
        {
            "account": {"request": "account"},
            "currency": {"request": "currency"},
            "credential": {"request": "credential"},
            "run": {"request": "run"},
            "first": {"request": "first_day"},
            "at": {"request": "downloaded_at"},
            "level": {"request": "params.level"},
            "manager": {"request": "attributes.manager", "type": "int64"},
            "kind": {"request": "class"},
            "none": {"request": "attributes.none", "optional": True},
        }
    )
    context = a_context(currency="CHF", params={"level": "ad"}, attributes={"manager": "77"})

    table = from_records([{}, {}], schema, context)

    assert table.num_rows == 2
    assert table.to_pylist()[1] == {
        "account": "1",
        "currency": "CHF",
        "credential": None,
        "run": "daily/2026-11-22T04:00Z#1",
        "first": date(2026, 11, 21),
        "at": datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC),
        "level": "ad",
        "manager": 77,
        "kind": "daily",
        "none": None,
    }


def test_an_attribute_that_the_account_lacks_is_an_error() -> None:
    """Unless the column is optional."""
    schema = a_schema({"x": {"request": "attributes.manager"}})

    with pytest.raises(UnexpectedAnswerError, match="column x: the request has no attributes"):
        from_records([], schema, a_context())


def test_no_records_make_a_table_with_its_columns() -> None:
    """An empty day has a file, and its file has columns."""
    schema = a_schema({"x": "int64", "y": {"type": "decimal(9,2)", "divide": 100}})

    table = from_records([], schema, a_context())

    assert (table.num_rows, table.schema) == (0, schema.arrow)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


@given(st.lists(st.dictionaries(st.just("x"), JSON) | JSON, max_size=5))
@pytest.mark.parametrize(
    "spec",
    [
        "string",
        "int64",
        "float64",
        "bool",
        "date",
        "timestamp",
        "json",
        "decimal(18,6)",
        {"type": "decimal(18,6)", "round": True, "divide": 10},
        {"type": "timestamp", "format": "epoch"},
        {"type": "float64", "thousands": ",", "percent": True},
    ],
)
def test_any_answer_is_a_table_or_an_unexpected_answer(spec: Any, records: list[Any]) -> None:
    """No other error leaves: one would count as a bug of ours instead of the partner's."""
    schema = a_schema({"x": spec})
    try:
        table = from_records(records, schema, a_context())
    except UnexpectedAnswerError:
        return
    assert table.num_rows == len(records)
    assert table.schema == schema.arrow


@pytest.mark.parametrize(
    ("form", "number"), [("epoch", 1_763_784_000_000), ("epoch_ms", -(10**17))]
)
def test_no_calendar_has_the_year_57862(form: str, number: int) -> None:
    """Milliseconds that were declared as seconds: said, instead of a date that nothing can read."""
    schema = a_schema({"x": {"type": "timestamp", "format": form}})

    with pytest.raises(UnexpectedAnswerError, match=r"column x, row 2: .* is not timestamp"):
        from_records([{"x": 1_763_784_000}, {"x": number}, {"x": None}], schema, a_context())


def test_a_number_that_json_cannot_hold_is_the_answers_fault() -> None:
    """JMESPath makes whole numbers of any size; in an answer they are floats."""
    schema = a_schema({"x": {"type": "json", "from": "to_number(x)"}})

    with pytest.raises(UnexpectedAnswerError, match="column x: not JSON"):
        from_records([{"x": "9" * 30}], schema, a_context())


@given(st.lists(st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)))
def test_what_json_held_is_what_the_column_holds(numbers: list[float]) -> None:
    """As numbers and as texts."""
    expected = [float(number) for number in numbers]
    read = orjson.loads(orjson.dumps(numbers))

    assert one_column("float64", read) == expected
    assert one_column("float64", [repr(number) for number in read]) == expected


def test_records_that_are_lists() -> None:
    """Without names anywhere, ``[0]`` is a column."""
    schema = a_schema(
        {
            "clicks": {"type": "int64", "from": "[1]"},
            "inner": {"type": "string", "from": "[0][0].x", "optional": True},
        }
    )

    found = from_records([[[{"x": "a"}], 5], ["b", 6]], schema, a_context()).to_pylist()

    assert found == [{"clicks": 5, "inner": "a"}, {"clicks": 6, "inner": None}]
    with pytest.raises(UnexpectedAnswerError, match="column clicks, row 1: missing in the answer"):
        from_records([[1]], schema, a_context())
    with pytest.raises(UnexpectedAnswerError, match="row 1: not a JSON list"):
        from_records([{}], schema, a_context())
