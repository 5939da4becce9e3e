"""An accounts table that is a CSV file is checked without Spark, by the same rules.

That Spark says the same is in tests/integration/enqueue/test_requests.py.
"""

from pathlib import Path

import pytest

from reportd.config.accounts import AccountsSource
from reportd.enqueue import csv_accounts
from reportd.enqueue.csv_accounts import is_plain, read_csv
from reportd.errors import ConfigError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "accounts.csv"


def problems(table: Path, text: str) -> list[str]:
    table.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_csv(AccountsSource(path=str(table)), ["meta"])
    return [problem.removeprefix(f"{table}: ") for problem in raised.value.problems]


def test_what_spreadsheets_write_is_read(table: Path) -> None:
    """A BOM, spaces around values, quotes in quotes, empty lines, Windows' ends of lines."""
    table.write_text(
        '\ufeffPartner, account ,credential,active,team\r\n\r\nmeta , 7,emea,No,"a ""b"", c"\r\n'
        "meta,8,,,\r\n",
        newline="",
    )

    first, second = read_csv(AccountsSource(path=str(table)), ["meta"])

    assert ("meta", "7", "UTC", "emea", False) == (
        first.partner,
        first.account,
        first.timezone,
        first.credential,
        first.active,
    )
    assert ({"team": 'a "b", c'}, True) == (first.attributes, second.active)


def test_columns_are_checked_as_by_the_enqueuer(table: Path) -> None:
    """One that is missing, one that stands twice."""
    assert ["column 'account': is missing; did you mean 'acount'?"] == problems(
        table, "partner,acount\nmeta,1\n"
    )
    assert ["column 'team': stands twice"] == problems(table, "partner,account,team,team\n")


def test_an_open_quote_spoils_its_line_alone(table: Path) -> None:
    """Lines are counted without the header, as Spark counts them."""
    said = problems(table, 'partner,account,team\nmeta,1,"open\nmeta,2,x\nmeta,3\n')

    assert ["row 3: does not parse, or has a field too many or too few: 'meta,3'"] == said


def test_twenty_bad_rows_are_named(table: Path) -> None:
    """The others are counted."""
    said = problems(table, "partner,account\n" + "mta,1\n" * 30)

    assert (21, "and 40 more") == (len(said), said[-1])


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ({"path": "accounts.csv"}, True),
        ({"path": "accounts.csv", "options": {"sep": ";"}}, False),
        ({"path": "accounts.csv", "options": {"header": "false"}}, False),
        ({"path": "other.csv"}, False),
        ({"path": "folder.csv"}, False),
        ({"path": "large.csv"}, False),
        ({"path": "s3a://bucket/accounts.csv"}, False),
        ({"table": "accounts"}, False),
    ],
)
def test_only_one_local_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: dict[str, object], wanted: bool
) -> None:
    """Anything else is Spark's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(csv_accounts, "MAX_BYTES", 100)
    Path("accounts.csv").write_text("partner,account\n")
    Path("large.csv").write_text("x" * 101)
    Path("folder.csv").mkdir()

    assert wanted == is_plain(AccountsSource.model_validate(source))


def test_a_control_character_at_an_end_is_no_space(table: Path) -> None:
    """Spaces around a value do not count; what a terminal would act upon does."""
    said = problems(table, 'partner,account,team\nmeta,1,"bell\x07"\nmeta,2,\t x \n')

    assert ["row 1: column 'team': 'bell\\x07' has a control character"] == said
