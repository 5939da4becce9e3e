"""A schedule says when, for whom, and what."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.config.days import FixedDays, RelativeDays, parse_days
from reportd.config.schedule import (
    Deadline,
    Schedule,
    ask_problems,
    load_schedule,
    load_schedules,
)
from reportd.config.secrets import Secret, SecretsFolder
from reportd.errors import ConfigError

HEAD = 'calendar = "*-*-* 04:00 Europe/Zurich"\n'
ASK = '[[ask]]\nreport = "acme.campaigns"\ndays = "1..7"\n'


class Folder:
    """A folder of schedules."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, text: str, name: str = "daily") -> Schedule:
        file = self.path / f"{name}.toml"
        file.write_text(text)
        return load_schedule(file, SecretsFolder(self.path / "secrets"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_shape_that_users_write(folder: Folder) -> None:
    """What CONFIG.md shows is understood."""
    schedule = folder.load("""
        calendar = "*-*-* 04:00 Europe/Zurich"
        deadline = "07:00 Europe/Zurich"
        catch_up_slots = 7
        accounts = "/etc/reportd/accounts.csv"
        [[ask]]
        report = "acme.campaigns"
        days = "1..7"
        class = "daily"
        formats = ["parquet", "csv.gz"]
    """)

    settings = schedule.settings
    (ask,) = settings.ask
    assert schedule.name == "daily"
    assert str(settings.calendar) == "*-*-* 04:00:00 Europe/Zurich"
    assert settings.accounts.format == "csv"
    assert settings.accounts.path == "/etc/reportd/accounts.csv"
    assert settings.accounts.options == {"header": "true"}
    assert (ask.partner, ask.report_name, ask.class_) == ("acme", "campaigns", "daily")
    assert ask.spans == (RelativeDays(1, 7),)
    assert ask.formats == ("parquet", "csv.gz")


@pytest.mark.parametrize(
    ("written", "format_", "path"),
    [
        ('"accounts.parquet"', "parquet", "{folder}/accounts.parquet"),
        ('"../accounts.csv.gz"', "csv", "{folder.parent}/accounts.csv.gz"),
        ('"s3a://bucket/accounts.jsonl"', "json", "s3a://bucket/accounts.jsonl"),
        ('{ format = "delta", path = "/lake/accounts" }', "delta", "/lake/accounts"),
        ('{ format = "csv", path = "/x/accounts.txt" }', "csv", "/x/accounts.txt"),
    ],
)
def test_accounts_are_anything_spark_reads(
    folder: Folder, written: str, format_: str, path: str
) -> None:
    """The format follows from the ending, or is named."""
    accounts = folder.load(f"{HEAD}accounts = {written}\n{ASK}").settings.accounts

    assert accounts.format == format_
    assert accounts.path == path.format(folder=folder.path)


def test_a_link_on_the_way_to_the_accounts_is_followed(folder: Folder) -> None:
    """Beside where the schedules are, not beside where the link to them is: as a shell has it."""
    elsewhere = folder.path.parent / "elsewhere" / "schedules"
    elsewhere.mkdir(parents=True)
    link = folder.path / "linked"
    link.symlink_to(elsewhere)
    (elsewhere / "daily.toml").write_text(f'{HEAD}accounts = "../accounts.csv"\n{ASK}')

    path = load_schedule(link / "daily.toml").settings.accounts.path

    assert path == f"{link}/../accounts.csv"


def test_accounts_from_a_database(folder: Folder) -> None:
    """JDBC takes options, a password as a secret."""
    (folder.path / "secrets").mkdir()
    (folder.path / "secrets" / "db").write_text("hunter2")
    accounts = folder.load(
        HEAD
        + 'accounts = { format = "jdbc", options = { url = "jdbc:x", dbtable = "accounts",'
        + ' fetchsize = 100, password = { secret = "db" } } }\n'
        + ASK
    ).settings.accounts

    assert accounts.options["password"] == Secret("hunter2")
    assert accounts.options["fetchsize"] == "100"
    assert "hunter2" not in repr(accounts)


def test_accounts_from_a_table_and_a_csv_without_header(folder: Folder) -> None:
    """A catalogue's table stands alone; a reader's own options win."""
    table = folder.load(f'{HEAD}accounts = {{ table = "db.accounts" }}\n{ASK}').settings.accounts
    csv = folder.load(
        f'{HEAD}accounts = {{ path = "a.csv", options = {{ header = false, sep = ";" }} }}\n{ASK}'
    ).settings.accounts

    assert (table.table, table.format, table.path) == ("db.accounts", None, None)
    assert csv.options == {"header": "false", "sep": ";"}


def test_sparks_settings_are_passed_on(folder: Folder) -> None:
    """With or without spark. before them, quoted or dotted."""
    text = 'spark = { master = "local[2]", spark.sql.shuffle.partitions = 8, "ui.enabled" = false }'
    settings = folder.load(f'{HEAD}accounts = "a.csv"\n{text}\n{ASK}').settings

    assert settings.spark == {
        "spark.master": "local[2]",
        "spark.sql.shuffle.partitions": "8",
        "spark.ui.enabled": "false",
    }


@pytest.mark.parametrize("name", ["Daily", "1st", "a b", "ünder", "x" * 65])
def test_a_schedules_name_fits_its_runs(folder: Folder, name: str) -> None:
    """The name stands in run names: what would not parse there is refused."""
    with pytest.raises(ConfigError, match="file: rename it"):
        folder.load(f'{HEAD}accounts = "a.csv"\n{ASK}', name)


def test_all_schedules_are_loaded_or_all_problems_said(folder: Folder) -> None:
    """One broken file does not hide another."""
    folder.load(f'{HEAD}accounts = "a.csv"\n{ASK}', "good")
    (folder.path / "bad.toml").write_text(f'{HEAD}accounts = "a.csv"\n')
    (folder.path / "worse.toml").write_text("=")

    with pytest.raises(ConfigError) as caught:
        load_schedules(folder.path)
    assert [line.split("/")[-1].split(":")[0] for line in caught.value.problems] == [
        "bad.toml",
        "worse.toml",
    ]
    (folder.path / "bad.toml").unlink()
    (folder.path / "worse.toml").unlink()
    assert list(load_schedules(folder.path)) == ["good"]


def test_what_is_asked_must_be_there(folder: Folder) -> None:
    """Partners, reports and formats that nobody has are named with the nearest that is."""
    schedule = folder.load(
        f'{HEAD}accounts = "a.csv"\n{ASK}'
        '[[ask]]\nreport = "acmee.campaigns"\ndays = "1"\n'
        '[[ask]]\nreport = "acme.campaign"\ndays = "1"\nformats = ["parket", "csv"]\n'
    )
    found = ask_problems(schedule, {"acme": {"campaigns": object()}}, ("parquet", "csv"))

    file = folder.path / "daily.toml"
    assert found == [
        f"{file}: ask[2].report: there is no partner 'acmee'; did you mean 'acme'?",
        f"{file}: ask[3].report: acme has no report 'campaign'; did you mean 'campaigns'?",
        f"{file}: ask[3].formats: unknown 'parket'; did you mean 'parquet'?",
    ]


def test_a_partner_of_the_catalogue_is_a_hint(folder: Folder) -> None:
    """The catalogue alone makes no partner: its limits are for the user to choose."""
    schedule = folder.load(f'{HEAD}accounts = "a.csv"\n[[ask]]\nreport = "meta.ads"\ndays = "1"\n')

    (found,) = ask_problems(schedule, {"acme": {}}, ("parquet",), ["meta"])

    assert found.endswith(
        "ask[1].report: there is no partner 'meta'; the catalogue has it: put meta.toml with"
        ' extends = "meta" among the partners'
    )


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1", "2026-11-21", "2026-11-21"),
        ("1..7", "2026-11-15", "2026-11-21"),
        ("4..28", "2026-10-25", "2026-11-18"),
        ("2026-11-01..2026-11-07", "2026-11-01", "2026-11-07"),
        ("2024-02-29", "2024-02-29", "2024-02-29"),
    ],
)
def test_days_count_back_from_today(text: str, first: str, last: str) -> None:
    """1 is yesterday, the last complete day; fixed days are themselves."""
    days = parse_days(text)
    got = days.range(date(2026, 11, 22))

    assert got == (date.fromisoformat(first), date.fromisoformat(last))
    assert days.count == (got[1] - got[0]).days + 1
    assert str(days) == text


SPANS = st.one_of(
    st.tuples(st.integers(1, 60), st.integers(0, 60)).map(lambda p: RelativeDays(p[0], sum(p))),
    st.tuples(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 60)).map(
        lambda p: FixedDays(p[0], date.fromordinal(p[0].toordinal() + p[1]))
    ),
)


@given(SPANS, st.integers(1, 30))
def test_split_days_cover_each_day_once(days: RelativeDays | FixedDays, size: int) -> None:
    """The parts are short enough, newest first, and together the whole."""
    today = date(2026, 11, 22)
    parts = [part.range(today) for part in days.split(size)]
    covered = [n for first, last in parts for n in range(first.toordinal(), last.toordinal() + 1)]
    first, last = days.range(today)

    assert sorted(covered) == list(range(first.toordinal(), last.toordinal() + 1))
    assert all((last - first).days < size for first, last in parts)
    assert parts == sorted(parts, reverse=True)


def test_the_deadline_comes_after_the_slot() -> None:
    """The same day when it is still to come, else the next; across the clocks' changes too."""
    deadline = Deadline.parse("07:00 Europe/Zurich")

    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert deadline.after(at("2026-11-22T03:00")) == at("2026-11-22T06:00")
    assert deadline.after(at("2026-11-22T06:00")) == at("2026-11-23T06:00")
    assert deadline.after(at("2026-10-24T05:00")) == at("2026-10-25T06:00")
    jumped_over = Deadline.parse("02:30 Europe/Zurich")
    assert jumped_over.after(at("2027-03-28T00:00")) == at("2027-03-28T01:30")
