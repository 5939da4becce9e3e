"""`reportctl check` holds everything together, and says all that does not."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.cli.commands.check import summary
from reportd.cli.looking import Tables
from reportd.config.load import load
from reportd.config.schedule import load_schedules
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, BrokerError, ReportdError
from reportd.partners.load import load_partners

SHIPPED = Path(__file__).parents[3] / "etc/reportd.toml"
CONFIG = """
kafka = { servers = "127.0.0.1:9" }
output = { root = "out" }
"""
PARTNER = """
hosts = ["api.acme.com"]
limits = [ { per = "partner", calls = 100, seconds = 1 }, { per = "account", calls = 5 } ]
[reports.campaigns]
get = "https://api.acme.com/v2/{{ account.id }}/stats?from={{ from }}&to={{ to }}"
rows = "data[]"
day_column = "date"
params = { level = "ad" }
columns = { date = "date", clicks = "int64" }
"""
SCHEDULE = """
calendar = "*-*-* 02:30 Europe/Zurich"
accounts = "accounts.csv"
[[ask]]
report = "acme.campaigns"
days = "1..7"
"""


class Place:
    """A configuration with a partner and a schedule."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "reportd.toml"
        for name in ("partners", "schedules"):
            (folder / name).mkdir()
        self.write(
            "reportd.toml",
            CONFIG.replace(
                "root", 'path = "{partner}/{report}/{date}/{params.level}/{account}.{ext}", root'
            ),
        )
        self.write("partners/acme.toml", PARTNER)
        self.write("schedules/daily.toml", SCHEDULE)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def check(self) -> int:
        return reportctl.main(["check", "--config", str(self.config)])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_right_is_0_and_shows_the_key(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The messages' key follows from the limits, and is printed."""
    assert place.check() == 0

    said = capsys.readouterr().out
    assert f"{place.config}: right" in said
    assert (
        "partner acme: key = partner; limits: 100 in 1 s per partner, 5 in 1 s per account" in said
    )
    assert "schedule daily: *-*-* 02:30:00 Europe/Zurich; next " in said


def test_the_zone_of_a_deadline_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One without a zone is UTC's, as a calendar without one: two hours late, in summer."""
    place.write("schedules/daily.toml", f'deadline = "07:00"\n{SCHEDULE}')
    assert place.check() == 0
    said = capsys.readouterr().out
    assert "; deadline 07:00 UTC; asks 1\n" in said
    assert 'is that meant? deadline = "07:00 Europe/Zurich"' in said

    place.write("schedules/daily.toml", f'deadline = "07:00 Europe/Zurich"\n{SCHEDULE}')
    assert place.check() == 0
    said = capsys.readouterr().out
    assert "; deadline 07:00 Europe/Zurich; asks 1\n" in said
    assert "is that meant" not in said


def test_what_nobody_looked_at_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that only Spark reads, output and broker are looked at elsewhere."""
    place.write("schedules/daily.toml", SCHEDULE.replace("accounts.csv", "s3a://b/accounts.csv"))

    assert place.check() == 0
    said = capsys.readouterr().out
    assert (
        "not looked at: the rows of s3a://b/accounts.csv ('reportd-enqueue daily --dry-run'), and"
        " their accounts' secrets\nnot looked at: output and Kafka ('reportctl doctor')\n"
    ) in said


def test_rows_of_a_csv_are_looked_at(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What the enqueuer would refuse at night is said by day, once for all that use the table."""
    place.write("schedules/second.toml", SCHEDULE)
    table = place.folder / "schedules" / "accounts.csv"
    table.write_text("partner,account,timezone\nacme,1,Europe/Zurck\nacne,2,\n")

    assert place.check() == EXIT_CONFIG
    assert capsys.readouterr().err.splitlines() == [
        f"{table}: row 1: column 'timezone': unknown time zone 'Europe/Zurck'; did you mean"
        " 'Europe/Zurich'?",
        f"{table}: row 2: column 'partner': unknown partner 'acne'; did you mean 'acme'?",
    ]
    table.write_text("partner,account,active\nacme,1,\nacme,2,no\n")

    assert place.check() == 0
    assert f"accounts {table}: 2, of which 1 active\n" in capsys.readouterr().out


class WithSecrets:
    """A place whose accounts have a credential each, and its folder of secrets."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.folder = place.folder / "secrets"
        auth = 'auth = { bearer = { secret = "acme-{{ account.credential }}" } }\n'
        place.write("partners/acme.toml", auth + PARTNER)
        rows = "acme,1,emea,yes\nacme,2,us,yes\nacme,3,gone,no\n"
        place.write("schedules/accounts.csv", f"partner,account,credential,active\n{rows}")

    def put(self, *names: str) -> None:
        self.folder.mkdir(exist_ok=True)
        for name in names:
            (self.folder / name).write_text("token\n")


def test_a_secret_that_an_account_lacks_is_a_problem(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name may depend on the account's credential; who is inactive needs none."""
    secrets = WithSecrets(place)
    secrets.put("acme-emea")

    assert place.check() == EXIT_CONFIG
    assert capsys.readouterr().err.splitlines() == [
        f"secret 'acme-us': there is no file {secrets.folder}/acme-us; put it there"
    ]
    secrets.put("acme-us")

    assert place.check() == 0
    assert "secrets" not in capsys.readouterr().out


@pytest.mark.parametrize("why", ["is not there", "is empty"])
def test_where_secrets_do_not_lie_is_no_problem(
    place: Place, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    """Who checks files in a repository, or encrypts secrets for systemd, has none there."""
    secrets = WithSecrets(place)
    if why == "is empty":
        secrets.put()

    assert place.check() == 0
    said = capsys.readouterr().out
    assert f"not looked at: secrets (acme-emea, acme-us): {secrets.folder} {why}\n" in said


def test_what_this_user_may_not_read_is_no_problem(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets are root's; whoever checks as somebody else is told that they were not looked at."""
    secrets = WithSecrets(place)
    secrets.put("acme-emea", "acme-us")
    closed = {secrets.folder / "acme-us"}
    monkeypatch.setattr("os.access", lambda path, _mode: path not in closed)

    assert place.check() == 0
    assert "not looked at: secrets that this user may not read: acme-us\n" in (
        capsys.readouterr().out
    )
    closed.add(secrets.folder)

    assert place.check() == 0
    assert f"{secrets.folder} is closed to this user" in capsys.readouterr().out


def test_accounts_that_are_not_there_are_told_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schedule may be written before its table; whoever has misspelled its path sees it here."""
    missing = "accounts.csv: there is no such accounts table"
    assert place.check() == 0
    assert missing in capsys.readouterr().out
    (place.folder / "schedules" / "accounts.csv").write_text("partner,account\nacme,1\n")

    assert place.check() == 0
    assert missing not in capsys.readouterr().out


def test_files_that_a_restatement_leaves_behind_are_told_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who restates seven days in one format keeps the first state of the others, for ever."""
    daily = SCHEDULE.replace("1..7", "1") + 'formats = ["parquet", "csv"]\n'
    place.write("schedules/daily.toml", daily)
    place.write("schedules/other.toml", SCHEDULE + 'params = { level = "campaign" }\n')
    again = SCHEDULE + 'formats = ["parquet", "jsonl"]\n'
    place.write("schedules/weekly.toml", again)

    assert place.check() == 0
    told = (
        "schedule weekly: asks acme.campaigns again without csv: those files keep what came first"
    )
    said = [line for line in capsys.readouterr().out.splitlines() if "again without" in line]
    assert said == [told]
    place.write("schedules/weekly.toml", again.replace("jsonl", "csv"))

    assert place.check() == 0
    assert "again without" not in capsys.readouterr().out


def test_a_deadline_is_shown_with_its_zone(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who wrote none sees which one is meant."""
    place.write("schedules/daily.toml", 'deadline = "07:00"' + SCHEDULE)

    assert place.check() == 0
    assert "UTC; deadline 07:00 UTC; asks 1\n" in capsys.readouterr().out


def test_a_limit_over_a_day_is_told_of(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """It is right, but whoever writes it expects calls right after a restart."""
    limit = 'per = "account", calls = 5, seconds = 86400'
    place.write("partners/acme.toml", PARTNER.replace('per = "account", calls = 5', limit))

    assert place.check() == 0
    said = capsys.readouterr().out
    assert "partner acme: limits[2] begins spent with each start: up to 24 h" in said
    assert "limits[1]" not in said


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ("partitions = 8\n", "partitions = 8, but limits[1] (9000 in 1 s per partner) counts over"),
        (
            "",
            "limits[1] allows 9000 calls a second, and the one worker that has it makes about 600",
        ),
        ("divided", "limits[1] is divided: 750 calls a partition; 0 of 9000 are used by none"),
    ],
)
def test_limits_that_do_not_fit_the_key_are_told_of(
    place: Place, capsys: pytest.CaptureFixture[str], changes: str, wanted: str
) -> None:
    """One worker has all of a limit over all accounts: whoever writes it may not know."""
    more = ", divide = true" if changes == "divided" else ""
    text = PARTNER.replace('per = "partner", calls = 100', f'per = "partner", calls = 9000{more}')
    place.write("partners/acme.toml", text if more else changes + text)

    assert place.check() == 0
    assert wanted in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "key", "told"),
    [
        ('per = "account", calls = 5', "account", ""),
        ('per = "{{ account.id }} {{ params.level }}", calls = 5', "account", ""),
        ('per = "account", calls = 5, meter = "day"', "account", ""),
        ('per = "credential", calls = 5', "credential", ""),
        ('per = "{{ account.credential }} {{ params.level }}", calls = 5', "credential", ""),
        ('per = "credential", calls = 900', "credential", "the one worker that has a credential"),
        ('per = "partner", calls = 5', "partner", "limits[2] (5 in 1 s per partner) counts over"),
        ('per = "report", calls = 5', "partner", "limits[2] (5 in 1 s per report) counts over"),
        ('per = "{{ account.team }}", calls = 5', "partner", "limits[2] (5 in 1 s per {{ acc"),
        ('per = "partner", calls = 5, meter = "rolling"', "partner", "limits[2] (5 in 86400 s per"),
        ('per = "partner", calls = 5, meter = "concurrent"', "partner", "limits[2] (5 at once per"),
        (
            'per = "partner", calls = 5, reports = ["campaigns"]',
            "partner",
            "limits[2] (5 in 1 s per",
        ),
        ('per = "partner", calls = 90, divide = true', "account", "limits[2] is divided: 11.25"),
    ],
)
def test_every_scope_is_looked_at_for_the_key(
    place: Place, capsys: pytest.CaptureFixture[str], limit: str, key: str, told: str
) -> None:
    """The widest scope is the key; who gave the topics partitions is told what makes them idle."""
    limits = f'limits = [ {{ per = "account", calls = 5 }}, {{ {limit} }} ]\npartitions = 8'
    text = "\n".join(limits if line.startswith("limits") else line for line in PARTNER.split("\n"))
    place.write("partners/acme.toml", text)

    assert place.check() == 0
    said = capsys.readouterr().out
    assert f"partner acme: key = {key};" in said
    assert told in said
    assert ("partitions = 8, but" in said) == (key == "partner")


def test_every_problem_at_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The path template, the partner that is not there, the format: all in one go, and 78."""
    place.write("reportd.toml", CONFIG)
    place.write("schedules/second.toml", SCHEDULE.replace("acme.", "acne."))
    place.write("schedules/third.toml", SCHEDULE.replace('"1..7"', '"1..7"\nformats = ["xls"]'))

    assert place.check() == EXIT_CONFIG
    said = capsys.readouterr().err
    assert "output.path: {params.level} is missing" in said
    assert "(for acme.campaigns)" in said
    assert "second.toml: ask[1].report: there is no partner 'acne'; did you mean 'acme'?" in said
    assert "third.toml: ask[1].formats: unknown 'xls'" in said


def test_what_workers_would_refuse_is_said_here(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """More days than the report gives at once, and parameters that it does not know."""
    asks = SCHEDULE.replace('"1..7"', '"1..7"\nparams = { nope = "x" }')
    place.write("schedules/daily.toml", asks)
    place.write("schedules/split.toml", SCHEDULE.replace('"1..7"', '"1..7"\nsplit_days = 3'))
    place.write("partners/acme.toml", PARTNER.replace("day_column", "max_days = 3\nday_column"))

    assert place.check() == EXIT_CONFIG
    said = capsys.readouterr().err
    assert "daily.toml: ask[1].days: 7, but this report gives at most 3; see split_days" in said
    assert "daily.toml: ask[1].params: one that the report does not declare" in said
    assert "split.toml" not in said


def test_broken_files_do_not_hide_each_other(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A partner and a schedule that do not load are both said."""
    place.write("partners/acme.toml", "= 1")
    place.write("schedules/daily.toml", "calendar = 1")

    assert place.check() == EXIT_CONFIG
    said = capsys.readouterr().err
    assert "partners/acme.toml: not TOML" in said
    assert "schedules/daily.toml: calendar: must be text in quotes" in said


def test_wrong_settings_hide_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems of the settings and those of partners and schedules come in one go."""
    place.write("reportd.toml", CONFIG + "[workers]\nthread = 3\n")
    place.write("partners/bing.toml", "= 1")
    place.write("schedules/second.toml", "calendar = 1")

    assert place.check() == EXIT_CONFIG
    said = capsys.readouterr().err
    assert "reportd.toml: workers.thread: unknown setting" in said
    assert "partners/bing.toml: not TOML" in said
    assert "schedules/second.toml: calendar: must be text in quotes" in said


def test_wrong_settings_hide_no_slip_of_a_schedule(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that load are held together too, where the settings say they lie."""
    place.write("reportd.toml", 'partners_folder = "elsewhere"\n' + CONFIG.replace("root", "rot"))
    (place.folder / "partners").rename(place.folder / "elsewhere")
    place.write("schedules/daily.toml", SCHEDULE.replace("acme.", "acne."))

    assert place.check() == EXIT_CONFIG
    said = capsys.readouterr().err
    assert "reportd.toml: output.rot: unknown setting; did you mean 'root'?" in said
    assert "there is no partner 'acne'; did you mean 'acme'?" in said


def test_no_configuration_is_one_problem(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, or no TOML, says nothing of what lies beside it."""
    place.write("partners/acme.toml", "= 1")
    place.config.unlink()
    assert place.check() == EXIT_CONFIG
    assert capsys.readouterr().err.splitlines() == [
        f"{place.config}: there is no such file; create it or name another"
    ]


def test_certificate_is_looked_at(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is not there is found before the observer has to end."""
    tls = 'metrics = { tls = { certificate = "m.crt", key = "m.key" } }\n'
    place.write("reportd.toml", tls + place.config.read_text())

    assert place.check() == EXIT_CONFIG
    assert f"{place.config}: metrics.tls: {place.folder}/m.crt" in capsys.readouterr().err


def test_librdkafka_is_asked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that looks like a setting of librdkafka, and is none, is found."""
    place.write("reportd.toml", CONFIG.replace('"127.0.0.1:9"', '"127.0.0.1:9", "sasl.usr" = "x"'))

    assert place.check() == EXIT_CONFIG
    assert "sasl.usr" in capsys.readouterr().err


def test_the_sample_folder_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in etc/ passes as it is: configuration, partner and schedule."""
    sample = Path(__file__).parents[3] / "etc" / "reportd.toml"

    assert reportctl.main(["check", "--config", str(sample)]) == 0, capsys.readouterr().err


def test_days_without_a_slot_are_told(place: Place) -> None:
    """A slot in the hour that the clock jumps over is pointed out."""
    config = load(place.config, {})
    lines = list(
        summary(
            config,
            load_partners(config.settings.partners_folder),
            load_schedules(config.settings.schedules_folder),
            Tables(),
            datetime(2026, 11, 22, 12, tzinfo=UTC),
        )
    )

    assert lines[-4].endswith("*-*-* 02:30:00 Europe/Zurich; next 2026-11-23 01:30 UTC; asks 1")
    assert lines[-3] == "schedule daily: the clock jumps over the slot of 2027-03-28"


def failing(error: BaseException) -> Callable[[], int]:
    """Return a command that fails."""

    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status"), [(BrokerError("away"), EXIT_UNAVAILABLE), (ReportdError("bug"), 1)]
)
def test_errors_have_their_exit_status(
    error: ReportdError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command raises; the program says one line and ends as the design says."""
    assert reportctl.guarded(failing(error)) == status
    assert capsys.readouterr().err == f"{error}\n"


def test_the_example_that_is_shipped_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """Who copies ``etc`` and changes nothing is told nothing is wrong."""
    assert 0 == reportctl.main(["check", "--config", str(SHIPPED)])

    assert "partner acme: key = partner" in capsys.readouterr().out


def test_ctrl_c_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever gives up waiting sees no traceback."""
    assert 130 == reportctl.guarded(failing(KeyboardInterrupt()))
    assert "" == capsys.readouterr().err
