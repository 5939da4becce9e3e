from pathlib import Path

import pytest

from reportd.config.accounts import AccountsSource
from reportd.config.secrets import Secret
from reportd.enqueue.accounts import (
    SHOWN,
    BadRow,
    check_present,
    describe,
    layout,
    name_of,
    reader_options,
    without_secrets,
)
from reportd.errors import ConfigError

SOURCE = AccountsSource(path="accounts.csv")
TEXT = {"partner": "string", "account": "string"}


def test_columns_are_sorted_out() -> None:
    """Known columns are found whatever their case, the others are attributes."""
    found = layout(SOURCE, {"Partner": "string", "account": "bigint", "team": "date"})

    assert (found.known, found.attributes) == (
        {"partner": "Partner", "account": "account"},
        ["team"],
    )


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({}, "accounts.csv: the table is empty: it has no columns"),
        (
            {"partner": "string", "acount": "string"},
            "accounts.csv: column 'account': is missing; did you mean 'acount'?",
        ),
        (TEXT | {"Account": "string"}, "accounts.csv: column 'Account': stands twice"),
        (TEXT | {"account": "double"}, "column 'account': is of type double; give text"),
        (TEXT | {"id": "string"}, "column 'id': no name for an attribute"),
        (TEXT | {"a b": "string"}, "column 'a b': no name for an attribute"),
        (TEXT | {"tags": "array<string>"}, "column 'tags': is of type array<string>"),
        (TEXT | {f"a{n}": "string" for n in range(65)}, "has 65 further columns; at most 64"),
    ],
)
def test_wrong_columns_are_named(columns: dict[str, str], problem: str) -> None:
    """Each is said with the table's name and the column's."""
    with pytest.raises(ConfigError) as raised:
        layout(SOURCE, columns)

    assert problem in str(raised.value)


def test_all_wrong_columns_are_said_at_once() -> None:
    """Nobody mends one only to be told of the next."""
    with pytest.raises(ConfigError) as raised:
        layout(SOURCE, {"x y": "string"})

    assert len(raised.value.problems) == 3


def test_bad_rows_are_named() -> None:
    """File, row, column and value, with a hint where there is one."""
    rows = [
        BadRow(1, "", "account", "empty"),
        BadRow(2, "", "partner", "partner", "acm"),
        BadRow(3, "part-1.csv", "timezone", "zone", "Europe/Zurck"),
        BadRow(4, "", "active", "active", "maybe"),
        BadRow(5, "", "account", "twice", "acme/7"),
        BadRow(6, "", "", "corrupt", "a,b,c,d"),
        BadRow(7, "", "team", "control", "a\nb"),
        BadRow(8, "", "team", "long", "x" * 2000),
    ]

    assert describe(SOURCE, rows, 8, ["acme"]).problems == (
        "accounts.csv: row 1: column 'account': is empty; every row needs it",
        "accounts.csv: row 2: column 'partner': unknown partner 'acm'; did you mean 'acme'?",
        "accounts.csv: part-1.csv: row 3: column 'timezone': unknown time zone 'Europe/Zurck';"
        " did you mean 'Europe/Zurich'?",
        "accounts.csv: row 4: column 'active': 'maybe' is neither true nor false",
        "accounts.csv: row 5: column 'account': account 'acme/7' stands in the table more than"
        " once",
        "accounts.csv: row 6: does not parse, or has a field too many or too few: 'a,b,c,d'",
        "accounts.csv: row 7: column 'team': 'a\\nb' has a control character",
        "accounts.csv: row 8: column 'team': is longer than 1024 characters",
    )


def test_many_bad_rows_are_counted() -> None:
    """A table that is wrong altogether does not fill the journal."""
    rows = [BadRow(n, "", "account", "empty") for n in range(SHOWN)]

    problems = describe(SOURCE, rows, 1_000_000, ["acme"]).problems

    assert (SHOWN + 1, "accounts.csv: and 999980 more") == (len(problems), problems[-1])


def test_missing_file_is_said_before_spark_starts(tmp_path: Path) -> None:
    """Only what is plainly a local path is looked for; globs and URLs are Spark's."""
    check_present(AccountsSource(path=f"{tmp_path}/*.csv"))
    check_present(AccountsSource(path="s3a://bucket/accounts.parquet"))
    with pytest.raises(ConfigError, match="there is no such accounts table"):
        check_present(AccountsSource(path=f"{tmp_path}/accounts.csv"))


def test_secrets_of_a_source_do_not_show() -> None:
    """What Spark says of a database is passed on without its password."""
    source = AccountsSource(format="jdbc", options={"password": Secret("hunter2"), "dbtable": "a"})

    assert reader_options(source) == {"password": "hunter2", "dbtable": "a"}
    assert without_secrets(source, "login hunter2 failed") == "login *** failed"
    assert (name_of(source), name_of(AccountsSource(table="x.y"))) == ("the jdbc table", "x.y")
