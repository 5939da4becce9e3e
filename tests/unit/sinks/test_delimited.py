"""CSV answers become typed columns, or an error that names column and row."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import UnexpectedAnswerError
from reportd.sinks import delimited
from reportd.sinks.table import CsvOptions, concat, csv_tables, from_csv
from tests.unit.sinks.making import a_context, a_schema

SCHEMA = a_schema(
    {
        "day": {"type": "date", "from": "Day"},
        "clicks": "int64",
        "cost": "decimal(10,2)",
        "name": "string",
        "ctr": {"type": "float64", "optional": True},
        "account": {"request": "account"},
    }
)
ROW = {
    "day": date(2026, 11, 21),
    "clicks": 5,
    "cost": Decimal("1.50"),
    "name": "x",
    "ctr": None,
    "account": "1",
}
PLAIN = b"Day,clicks,cost,name\n2026-11-21,5,1.50,x\n"


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (PLAIN, CsvOptions()),
        (PLAIN.rstrip(), CsvOptions()),
        (PLAIN.replace(b"\n", b"\r\n"), CsvOptions()),
        (PLAIN.replace(b"\n", b"\r"), CsvOptions()),
        (
            (b"Report\n" + PLAIN + b"Total,5\n").replace(b"\n", b"\r"),
            CsvOptions(header_starts="Day", skip_footer_lines=1),
        ),
        (b"\xef\xbb\xbf" + PLAIN, CsvOptions()),
        (PLAIN.decode().encode("utf-16"), CsvOptions()),
        (PLAIN.decode().encode("cp1252"), CsvOptions(encoding="cp1252")),
        (PLAIN.replace(b",", b"\t"), CsvOptions(delimiter="\t")),
        (b'"Report: x\n\n' + PLAIN, CsvOptions(skip_lines=1)),
        (b"\n\n" + PLAIN, CsvOptions()),
        (PLAIN + b"\n\n", CsvOptions()),
        (PLAIN + b"Total,5\n\xa9 Somebody\n\n", CsvOptions(skip_footer_lines=2)),
        (PLAIN.partition(b"\n")[2], CsvOptions(header=("Day", "clicks", "cost", "name"))),
        (b'"Day","clicks","cost","name"\n"2026-11-21","5","1.50","x"\n', CsvOptions()),
        (b"Day,clicks,cost,name,,,other\n2026-11-21,5,1.50,x,1,2,3\n", CsvOptions()),
        (b'Day,clicks,cost,name,"b\nc"\n2026-11-21,5,1.50,x,1\n', CsvOptions()),
        (b" Day , clicks,cost,name\n2026-11-21,5,1.50,x\n", CsvOptions()),
        (b"Day,clicks,cost,name\n2026-11-21, 5 ,1.50,x\n", CsvOptions()),
    ],
)
def test_what_partners_call_csv(data: bytes, options: CsvOptions) -> None:
    """Marks, preambles, footers, line ends, quotes, columns that nobody declared."""
    assert from_csv(data, options, SCHEMA, a_context()).to_pylist() == [ROW]


def test_values_may_hold_anything_in_quotes() -> None:
    """Delimiters, quotes, line ends; an empty text is a text, a marker for a number is none."""
    data = PLAIN.partition(b"\n")[0] + b'\n2026-11-21,--,,"a ""b"", c\r\nd"\n2026-11-21,-,1,\n'

    table = from_csv(data, CsvOptions(), SCHEMA, a_context())

    assert table.column("name").to_pylist() == ['a "b", c\r\nd', ""]
    assert table.column("clicks").to_pylist() == [None, None]
    assert table.column("cost").to_pylist() == [None, Decimal(1)]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no header"),
        (b" \n\n", "no header"),
        (b"<html>oops</html>", "column day: no 'Day' in the header"),
        (b"Day,clicks,cost\n", "column name: no 'name' in the header"),
        (b"Day,clicks,cost,name,name\n", "column name: 'name' stands twice"),
        (PLAIN + b"2026-11-21,5,1.50\n", "row 2: 3 values, not 4"),
        (PLAIN + b"2026-11-21,5,1.50,x,y\n", "row 2: 5 values, not 4"),
        (PLAIN + b"2026-11-21,x,1.50,x\n", "column clicks, row 2: 'x' is not int64"),
        (PLAIN + b"2026-11-21,0x10,1.50,x\n", "column clicks, row 2: '0x10' is not int64"),
        (PLAIN + b"2026-11-21,5,1.555,x\n", "column cost, row 2: '1.555' is not decimal"),
        (PLAIN + b"21.11.2026,5,1.50,x\n", "column day, row 2: '21.11.2026' is not date"),
        (PLAIN + b"2026-11-21,5,1.50,\xff\n", "UTF8"),
        (PLAIN + b'2026-11-21,5,1.50,"x', "ends within a quoted value"),
        (PLAIN + b'2026-11-21,5,1.50,"x\n2026-11-21,5,1.50,x\n', "ends within a quoted value"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, problem: str) -> None:
    """An answer that was cut, or is something else, is never half a report."""
    with pytest.raises(UnexpectedAnswerError, match=problem):
        from_csv(data, CsvOptions(), SCHEMA, a_context())


def test_a_lone_quote_within_a_value_is_a_value() -> None:
    """Screens have inches."""
    table = from_csv(PLAIN.replace(b",x", b',19" x'), CsvOptions(), SCHEMA, a_context())

    assert table.column("name").to_pylist() == ['19" x']


def test_not_a_number_is_an_error() -> None:
    """No reader of the files would know what to make of it."""
    schema = a_schema({"ctr": "float64"})

    with pytest.raises(UnexpectedAnswerError, match="column ctr, row 2: 'nan' is not float64"):
        from_csv(b"ctr\n1\nnan\n", CsvOptions(), schema, a_context())


def test_no_rows_make_a_table_with_its_columns() -> None:
    """A header alone is an answer: there was nothing."""
    for data in (b"Day,clicks,cost,name", b"Day,clicks,cost,name\n\n"):
        table = from_csv(data, CsvOptions(), SCHEMA, a_context())
        assert (table.num_rows, table.schema) == (0, SCHEMA.arrow)


def test_one_column_of_the_answer_may_be_declared_twice() -> None:
    """As a number and as the text that it was."""
    schema = a_schema(
        {"micros": {"type": "int64", "from": "c"}, "cost": {"type": "string", "from": "c"}}
    )

    table = from_csv(b"c\n1500\n", CsvOptions(), schema, a_context())

    assert table.to_pylist() == [{"micros": 1500, "cost": "1500"}]


@pytest.mark.parametrize("micros", ["1500000", "1500000.0", "1,500,000"])
def test_micros_become_units(micros: str) -> None:
    """With and without separators; read as whole numbers where that is quicker."""
    schema = a_schema(
        {
            "cost": {
                "type": "decimal(18,6)",
                "divide": 1_000_000,
                **({"thousands": ","} if "," in micros else {}),
                **({"round": True} if "." in micros else {}),
            }
        }
    )

    table = from_csv(f'cost\n"{micros}"\n'.encode(), CsvOptions(), schema, a_context())

    assert table.to_pylist() == [{"cost": Decimal("1.5")}]


def test_a_long_row_does_not_need_a_long_block() -> None:
    """Rows longer than Arrow's reader takes at a time are read in one piece."""
    long = "x" * 5_000_000

    table = from_csv(
        f"name\na\n{long}\nb\n".encode(), CsvOptions(), a_schema({"name": "string"}), a_context()
    )

    assert [len(name) for name in table.column("name").to_pylist()] == [1, 5_000_000, 1]


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r", exclude_categories=["Cs"]),
    max_size=8,
)


@given(st.lists(st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1))))
def test_what_a_partner_writes_is_what_is_read(rows: list[tuple[str, int]]) -> None:
    """Whatever a CSV writer quotes."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerows([("name", "clicks"), *rows])
    schema = a_schema({"clicks": "int64", "name": "string"})

    table = from_csv(out.getvalue().encode(), CsvOptions(), schema, a_context())

    assert table.to_pylist() == [{"clicks": clicks, "name": name} for name, clicks in rows]


@given(st.binary(max_size=60).map(lambda end: PLAIN[:25] + end) | st.binary(max_size=40))
def test_any_bytes_are_a_table_or_an_unexpected_answer(data: bytes) -> None:
    """No other error leaves: one would count as a bug of ours instead of the partner's."""
    try:
        table = from_csv(data, CsvOptions(), SCHEMA, a_context())
    except UnexpectedAnswerError:
        return
    assert table.schema == SCHEMA.arrow


@contextmanager
def small_pieces() -> Iterator[None]:
    """Work as if rows were very long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_PIECE_BYTES", 16)
        patch.setattr(delimited, "_PIECE_MOST_BYTES", 256)
        patch.setattr(delimited, "_PREAMBLE_BYTES", 64)
        yield


def test_pieces_of_lines_that_end_with_a_carriage_return() -> None:
    """They are cut as all others are; the footer is no row, and no row is a footer."""
    data = b"Report\ra,b\r" + b"1,x\r" * 100 + b"Total,\r"
    options = CsvOptions(skip_lines=1, skip_footer_lines=1)
    with small_pieces():
        chunks = [data[at : at + 30] for at in range(0, len(data), 30)]
        tables = list(csv_tables(chunks, options, FEW, a_context()))

    assert sum(table.num_rows for table in tables) == 100
    assert len(tables) > 1


VALUES = st.sampled_from(["1", "", '"a,b"', '"a\n""b"""', '5" disk', "x y", '""', "\r"])
FEW = a_schema({"a": "string", "b": {"type": "string", "optional": True}})


@given(
    rows=st.lists(st.lists(VALUES, min_size=2, max_size=2).map(",".join), max_size=12),
    ends=st.sampled_from(["", "\n", "\r\n", "\n\n"]),
    footer=st.integers(0, 2),
    size=st.integers(1, 40),
)
def test_pieces_of_csv(rows: list[str], ends: str, footer: int, size: int) -> None:
    """Wherever the network or a piece ends: the rows of the whole, or its refusal."""
    options = CsvOptions(header_starts="a", skip_footer_lines=footer)
    data = ("\n".join(["Report: x", "a,b", *rows, *["(c), all of us"] * footer]) + ends).encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    expected = found = None
    try:
        expected = from_csv(data, options, FEW, a_context()).to_pylist()
    except UnexpectedAnswerError as error:
        expected = error
    with small_pieces():
        try:
            found = concat(
                [
                    FEW.arrow.empty_table(),
                    *csv_tables(chunks, options, FEW, a_context()),
                ]
            ).to_pylist()
        except UnexpectedAnswerError as error:
            found = error
    if isinstance(expected, UnexpectedAnswerError):
        assert isinstance(found, UnexpectedAnswerError)
    else:
        assert found == expected


def test_a_wrong_value_in_a_later_piece() -> None:
    """Its row is counted behind those that were fine."""
    data = b"Day,clicks,cost,name\n" + b"2026-11-21,5,1.50,x\n" * 9 + b"2026-11-21,many,1.50,x\n"

    with small_pieces(), pytest.raises(UnexpectedAnswerError) as caught:
        list(csv_tables([data], CsvOptions(), SCHEMA, a_context()))

    assert str(caught.value) == "behind row 8: column clicks, row 2: 'many' is not int64"


@pytest.mark.parametrize("value", [b"x" * 400, b'"' + b"x\n" * 400 + b'"'])
def test_a_row_without_end(value: bytes) -> None:
    """It is not waited for for ever."""
    data = b"Day,clicks,cost,name\n2026-11-21,5,1.50," + value + b"\n" * 300

    with small_pieces(), pytest.raises(UnexpectedAnswerError, match="longer than 256 bytes"):
        list(csv_tables([data], CsvOptions(), SCHEMA, a_context()))
