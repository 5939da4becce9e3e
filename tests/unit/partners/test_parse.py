"""From answers to tables."""

import gzip
import io
import zipfile
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.errors import UnexpectedAnswerError
from reportd.partners.parse import to_table, to_tables
from reportd.partners.partner import Partner
from reportd.sinks.gathering import table_of
from tests.unit.partners.making import NOW, partner, request

CSV = """
[reports.stats]
get = "https://api.acme.com/x"
format = "csv"
day_column = "date"
columns = { date = "date", clicks = "int64" }
"""


def clicks(of: Partner, bodies: list[bytes]) -> list[int]:
    """Return one column of all rows."""
    found = to_table(of, request(), bodies, NOW)
    return list(found.column("clicks").to_pylist())


def test_pages_follow_each_other() -> None:
    """Rows of all answers, in their order, cut into days; days without rows are there."""
    bodies = [
        b'{"data": [{"date": "2025-11-16", "clicks": 1}, {"date": "2025-11-15", "clicks": 2}]}',
        b'{"data": [{"date": "2025-11-16", "clicks": "3"}]}',
    ]

    found = to_tables(partner(), request(), bodies, NOW)
    tables = {day: table_of(rows) for day, rows in found.items()}

    assert list(tables) == request().days()
    assert tables[date(2025, 11, 16)].column("clicks").to_pylist() == [1, 3]
    assert tables[date(2025, 11, 15)].column("clicks").to_pylist() == [2]
    assert tables[date(2025, 11, 21)].num_rows == 0
    assert tables[date(2025, 11, 21)].column_names == ["date", "clicks"]


@pytest.mark.parametrize("bodies", [[], [b""], [b"", b'{"data": []}']])
def test_no_rows(bodies: list[bytes]) -> None:
    """Nothing is a table without rows, whatever the format."""
    assert clicks(partner(), bodies) == []
    assert clicks(partner(base=CSV), bodies[:1]) == []


def test_gzip_and_boms() -> None:
    """Files that are packed although no header says so."""
    row = b'{"data": [{"date": "2025-11-16", "clicks": 1}]}'

    assert clicks(partner(), [gzip.compress(row), b"\xef\xbb\xbf" + row]) == [1, 1]
    assert clicks(partner(base=CSV), [gzip.compress(b"date,clicks\n2025-11-16,7\n")]) == [7]


def test_a_bomb_is_refused() -> None:
    """Decompression has the limit of the report."""
    with pytest.raises(UnexpectedAnswerError, match="after decompression"):
        clicks(partner("", "max_answer_mib = 1\n"), [gzip.compress(bytes(3 * 1024 * 1024))])


def test_json_lines() -> None:
    """One record a line, blank lines ignored, a part of each line picked."""
    of = partner(
        base=CSV.replace('"csv"', '"jsonl"') + 'rows = "row"\n',
    )

    assert clicks(of, [b'{"row": {"date": "2025-11-16", "clicks": 5}}\n\n\r\n']) == [5]
    with pytest.raises(UnexpectedAnswerError, match="line 2: not JSON"):
        clicks(of, [b'{"row": {"date": "2025-11-16", "clicks": 5}}\n{"row\n{}\n'])
    with pytest.raises(UnexpectedAnswerError, match="cut short"):
        clicks(of, [b'{"row": {"date": "2025-11-16", "clicks": 5}}\n{"row'])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("delimiter = ';'", "date;clicks\n2025-11-16;5\n"),
        ("delimiter = '\\t', skip_lines = 2", "a\nb\ndate\tclicks\n2025-11-16\t5\n"),
        ("header = ['date', 'clicks']", "2025-11-16,5\n"),
        ("footer_lines = 1", 'date,clicks\n2025-11-16,5\n\n"(c) all of us"\n\n'),
        ("header_starts = 'date'", 'Report: x\n"date range",1\ndate,clicks\n2025-11-16,5\n'),
        ("header_starts = 'date'", 'Report: "x"\n"date","clicks"\n"2025-11-16","5"\n'),
        ("header_starts = 'date', skip_lines = 1", "date,1\ndate,clicks\n2025-11-16,5\n"),
        ("quote = ''", 'date,clicks,"x\n2025-11-16,5,"\n'),
    ],
)
def test_csv_as_partners_write_it(options: str, text: str) -> None:
    """Preambles, footers, delimiters, missing headers."""
    quoted = options.replace("'\\t'", '"\\t"')

    assert clicks(partner(base=CSV + f"csv = {{ {quoted} }}\n"), [text.encode()]) == [5]


def test_csv_in_other_encodings() -> None:
    """UTF-16 from a spreadsheet, Windows' own."""
    text = "date,clicks\n2025-11-16,5\n"

    assert clicks(partner(base=CSV + "encoding = 'utf-16'\n"), [text.encode("utf-16")]) == [5]
    assert clicks(partner(base=CSV + "encoding = 'windows-1252'\n"), [text.encode()]) == [5]


def test_numbers_as_people_read_them() -> None:
    """Thousands, percent signs, and nulls that the report declares for all its columns."""
    columns = """null = ["--", "n/a", ""]
[reports.stats.columns]
date = "date"
clicks = { type = "int64", thousands = "," }
name = "string"
ctr = { type = "float64", percent = true }
kept = { type = "string", null = ["?"] }
"""
    of = partner(base=CSV[: CSV.index("columns")] + columns)
    text = b'date,clicks,name,ctr,kept\n2025-11-16,"1,234",n/a,5.5%,--\n2025-11-16,--,x,n/a,?\n'

    found = to_table(of, request(), [text], NOW).to_pylist()

    assert [tuple(row.values())[1:] for row in found] == [
        (1234, None, 5.5, "--"),
        (None, "x", None, None),
    ]


def test_csv_files_of_a_zip() -> None:
    """Each has its preamble, its header and its footer."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("2.csv", "1.csv"):
            text = f"Report\ndate,clicks\n2025-11-16,{name[0]}\n(c)\n"
            archive.writestr(name, text.encode("utf-8-sig"))
        archive.writestr("readme.txt", "hello")
    options = "members = '*.csv'\ncsv = { header_starts = 'date', footer_lines = 1 }\n"

    assert clicks(partner(base=CSV + options), [out.getvalue()]) == [1, 2]


def test_no_header_where_one_is_announced() -> None:
    """A file without the line it should begin with is unexpected, not empty."""
    with pytest.raises(UnexpectedAnswerError, match="no line begins with 'date'"):
        clicks(partner(base=CSV + "csv = { header_starts = 'date' }\n"), [b"Report\nerror\n"])


def test_columns_speak_of_parameters_with_defaults() -> None:
    """A column of a parameter that the request left out has the default."""
    base = CSV.replace('format = "csv"', 'params = { level = "ad" }\nrows = "data"')
    base = base.replace('"int64" }', '"int64", level = { request = "params.level" } }')
    body = b'{"data": [{"date": "2025-11-16", "clicks": 1}]}'

    found = to_table(partner(base=base), request(), [body], NOW)

    assert found.column("level").to_pylist() == ["ad"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [{"date": "2025-11-16"}]}',
        b'{"data": [{"date": "2025-11-16", "clicks": "many"}]}',
        b'{"data": [{"date": "2024-01-01", "clicks": 1}]}',
        b'{"data": [{"date": null, "clicks": 1}]}',
        b'{"data": [1]}',
        b'{"data": {"date": "2025-11-16"}}',
        b'{"rows": []}',
        b"[]",
        b"null",
        b"<html>",
        b'{"data": [',
    ],
)
def test_what_does_not_fit_is_unexpected(body: bytes) -> None:
    """Missing columns, wrong types, foreign days: nothing of it becomes a file."""
    with pytest.raises(UnexpectedAnswerError):
        to_tables(partner(), request(), [body], NOW)


LINES = st.lists(
    st.sampled_from(
        [
            "date,clicks",
            "2025-11-16,5",
            '"2025-11-16","5"',
            '"',
            "2025-11-16",
            ",",
            "\x00",
            "é",
            "x,y,z",
            "",
        ]
    ),
    max_size=6,
).map("\n".join)


@settings(max_examples=300)
@given(
    data=st.binary(max_size=100) | LINES.map(str.encode) | LINES.map(lambda t: t.encode("utf-16")),
    packed=st.booleans(),
    form=st.sampled_from(["csv", "json", "jsonl"]),
    options=st.sampled_from(["", "header_starts = 'date'", "footer_lines = 2", "skip_lines = 1"]),
)
def test_parsing_raises_nothing_else(data: bytes, packed: bool, form: str, options: str) -> None:
    """Whatever was spooled, it becomes tables or an UnexpectedAnswerError."""
    extra = f"csv = {{ {options} }}\n" if form == "csv" else ""
    of = partner(base=CSV.replace('"csv"', f'"{form}"') + extra)
    try:
        tables = to_tables(of, request(), [gzip.compress(data) if packed else data], NOW)
    except UnexpectedAnswerError:
        return
    assert list(tables) == request().days()
