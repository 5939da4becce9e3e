"""`reportctl partner try` and `accounts`, on recordings: no socket, no secret, no waiting."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from reportd.cli import reportctl
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE
from reportd.partners.recording import Recorder, new_recording
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from tests.unit.partners.making import NOW, answer, request

PARTNER = """
hosts = ["api.acme.com"]
auth = { bearer = { secret = "acme-{{ account.credential }}" } }
slow_down = [{ status = 429, wait = "header:Retry-After" }]

[reports.stats]
get = "https://api.acme.com/v2/{{ account.id }}/stats?from={{ from }}&to={{ to }}"
rows = "data[]"
day_column = "date"
next = { cursor = "next", query = "after" }
columns = { date = "date", cost = "int64", clicks = "int64" }

[accounts]
get = "https://api.acme.com/v2/accounts"
rows = "data[]"
[accounts.columns]
account = { from = "id", type = "string" }
timezone = "string"
team = { type = "string", optional = true }
live = "bool"
"""
URL = "https://api.acme.com/v2/acc-1/stats?from=2025-11-20&to=2025-11-21"
ACCOUNTS = {"report": "accounts", "account": "accounts", "first_day": "2025-11-21"}
PAGE_1 = {
    "data": [{"date": "2025-11-20", "cost": 12_500_000, "clicks": 3, "ctr": 0.5}],
    "next": "b",
}
PAGE_2 = {"data": [{"date": "2025-11-21", "cost": 7_000_000, "clicks": 4, "ctr": 0.25}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "acme.toml").write_text(PARTNER)
    return tmp_path


def record(folder: Path, *exchanges: tuple[str, Answer | Failure], **fields: Any) -> None:
    """Record what a partner would have answered."""
    days = {"first_day": "2025-11-20", "last_day": "2025-11-21"}
    new_recording(folder / "rec", request(**days | fields))
    answers = [outcome for _, outcome in exchanges]
    recorder = Recorder(lambda _call: answers.pop(0), folder / "rec", lambda: NOW, lambda: ())
    for url, _ in exchanges:
        recorder.send(Call(method="GET", url=url, hosts=("api.acme.com",)))
    recorder.close()


def run(folder: Path, action: str, *options: str) -> int:
    replay = ("--replay", str(folder / "rec"), "--config", str(folder / "nothing.toml"))
    return reportctl.main(["partner", action, str(folder / "acme.toml"), *replay, *options])


def test_everything_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls, rules, waits, types with suggestions, rows and files: what a file's author needs."""
    slow = answer(b"", 429, retry_after="30")
    record(folder, (URL, slow), (URL, answer(PAGE_1)), (f"{URL}&after=b", answer(PAGE_2)))

    assert 0 == run(folder, "try")

    said = capsys.readouterr().out
    for wanted in (
        "acme.stats, account acc-1, 2025-11-20..2025-11-21",
        f"  1  GET {URL}",
        "     Authorization: [secret]",
        "  -> 429 in ",
        "     rule slow_down[1] decides",
        "     waits 30 s: as the partner says",
        f"  3  GET {URL}&after=b",
        "Columns, by 2 records",
        'looks like int64 micros: cost = { type = "decimal(18,6)", divide = 1000000 }',
        '    ctr = "float64"',
        "The first 2 of 2 rows",
        "    acme/stats/date=2025-11-20/acc-1.parquet  1 rows",
    ):
        assert wanted in said
    assert "not asked for" not in said


POLLED = """
hosts = ["api.acme.com"]

[reports.stats]
day_column = "date"
columns = { date = "date" }

[[reports.stats.steps]]
name = "poll"
get = "https://api.acme.com/v2/job"
poll = { done = "state == 'done'" }

[[reports.stats.steps]]
name = "rows"
get = "https://api.acme.com/v2/rows"
"""


def test_a_step_lacks_an_attribute(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is sent, and the option that gives it is named."""
    body = 'json = { region = "{{ account.region }}" }'
    get = 'get = "https://api.acme.com/v2/job"'
    text = POLLED.replace(get, f"{get.replace('get', 'post', 1)}\n{body}")
    (folder / "acme.toml").write_text(text)
    record(folder, (URL, answer({})))

    assert 1 == run(folder, "try")

    said = capsys.readouterr()
    assert "the request gives no account.region; give --attribute region=..." in said.err
    assert "     not sent" in said.out


def test_days_without_a_day_column(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Why a range is refused is said, and so what to add."""
    (folder / "acme.toml").write_text(PARTNER.replace('day_column = "date"', ""))
    record(folder, (URL, answer({})))

    assert EXIT_CONFIG == run(folder, "try")

    said = capsys.readouterr().err
    assert "days: 2, but this report gives at most 1, as it names no day_column" in said


@pytest.mark.parametrize("currency", ["", "EUR"])
def test_an_empty_currency_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], currency: str
) -> None:
    """Some partners take one for theirs, others refuse it: it is not sent unseen."""
    (folder / "acme.toml").write_text(PARTNER.replace("stats?", "stats?in={{ account.currency }}&"))
    url = URL.replace("stats?", f"stats?in={currency}&")
    record(folder, (url, answer(PAGE_2)), currency=currency)

    assert 0 == run(folder, "try")

    said = capsys.readouterr().out
    assert ("account.currency is empty; give --currency" in said) == (not currency)


def test_a_poll_shows_what_it_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state that stands elsewhere than the file says is seen at once; repetitions are not."""
    (folder / "acme.toml").write_text(POLLED)
    url = "https://api.acme.com/v2/job"
    waits, done = answer({"data": {"state": "new"}}), answer({"data": {"state": "done"}})
    record(folder, (url, waits), (url, waits), (url, done))

    assert 1 == run(folder, "try")

    said = capsys.readouterr().out
    assert 1 == said.count('     it says {"data":{"state":"new"}}')
    assert '     it says {"data":{"state":"done"}}' in said


def test_what_does_not_fit_is_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The column is named, and what the records hold instead is still shown."""
    record(folder, (URL, answer({"data": [{"date": "2025-11-20", "cost": "n/a", "clicks": 1}]})))

    assert 1 == run(folder, "try")

    said = capsys.readouterr().out
    assert "The answers do not fit: column cost, row 1" in said
    assert "until the file is mended, for 2 h\nat most (retry.give_up_seconds); then" in said
    assert 'looks like string: cost = "string"' in said


def test_rows_that_are_not_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has not found the rows yet is shown where there are some, and the answer."""
    text = PARTNER.replace('next = { cursor = "next", query = "after" }\n', "")
    (folder / "acme.toml").write_text(text)
    document = {"meta": {"x": [1]}, "result": {"list-1": [{"a": 1}, {"a": 2}]}, "few": [{"b": 1}]}
    record(folder, (URL, answer(document)))

    assert 1 == run(folder, "try")

    said = capsys.readouterr().out
    assert 'There are objects at rows = "result.\\"list-1\\"[]"' in said
    assert 'There are objects at rows = "few[]"' in said
    assert 'The answer begins: {"meta":' in said
    assert "The answers do not fit: rows: nothing at 'data[]', wanted a list" in said


@pytest.mark.parametrize(
    ("outcome", "status", "wanted"),
    [
        (answer({"error": "unknown account"}, 404), 1,
         "It ends here: permanent: HTTP 404: refused"),
        (Failure(kind=FailureKind.CONNECT, detail="does not resolve", seconds=0.1),
         EXIT_UNAVAILABLE, "It ends here: transient: connect: does not resolve"),
    ],
)  # fmt: skip
def test_a_refusal_is_shown(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    outcome: Answer | Failure,
    status: int,
    wanted: str,
) -> None:
    """1 for what the partner refuses, 75 where it is not there."""
    record(folder, *[(URL, outcome)] * 3)

    assert status == run(folder, "try")

    said = capsys.readouterr()
    assert wanted in said.err
    assert ("The answer begins: {" in said.err) == isinstance(outcome, Answer)


def test_a_changed_file_is_compared_with_the_recording(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it asks for something else, that is said; so is what it did not ask for."""
    record(folder, (URL, answer(PAGE_2)), ("https://api.acme.com/v2/other", answer({})))
    path = folder / "acme.toml"
    path.write_text(PARTNER.replace("&to={{ to }}", "&until={{ to }}"))

    assert 0 == run(folder, "try")

    said = capsys.readouterr().out
    assert "GET /v2/acc-1/stats: not quite what was recorded: until=2025-11-21 is new" in said
    assert "1 recorded exchanges were not asked for." in said


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), ["--account is missing", "--credential is missing: the file's auth names secrets by"]),
        (("--report", "stat", "--days", "yesterday", "--timezone", "Mars"),
         ["--account is missing", "--report: no 'stat'; did you mean 'stats'?",
          "--timezone: unknown time zone", "--days: must be days back"]),
        (("--account", "1", "--credential", "eu", "--param", "x"), ["--param: write KEY=VALUE"]),
        (("--account", "1", "--credential", "eu", "--param", "level=ad"),
         ["params: one that the report does not declare"]),
        (("--account", "1", "--days", "1", "--credential", "eu"),
         ["secret 'acme-eu': ", "name their folder with --secrets"]),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], wanted: list[str]
) -> None:
    """What is missing or wrong is said before anything is sent, with what to write."""
    file, config = str(folder / "acme.toml"), str(folder / "nothing.toml")

    assert EXIT_CONFIG == reportctl.main(["partner", "try", file, *options, "--config", config])

    said = capsys.readouterr().err
    for what in wanted:
        assert what in said


def test_a_missing_attribute_can_be_given(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Templates may need more of the account than its name; the option is named."""
    path = folder / "acme.toml"
    path.write_text(PARTNER.replace("{{ account.id }}/stats", "{{ account.region }}/stats"))
    (folder / "secrets").mkdir()
    (folder / "secrets/acme-eu").write_text("x")
    options = ("--account", "1", "--credential", "eu", "--secrets", str(folder / "secrets"))

    status = reportctl.main(["partner", "try", str(path), *options, "--config", "/nothing.toml"])

    assert EXIT_CONFIG == status
    said = capsys.readouterr().err
    assert f"{path}: the request gives no account.region; give --attribute region=..." in said


def test_a_token_that_rotates_is_not_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an output to keep the next one at, the refresh token is not even used."""
    nowhere = str(folder / "nothing.toml")
    options = ("--account", "1", "--report", "ads", "--credential", "eu", "--config", nowhere)

    assert EXIT_CONFIG == reportctl.main(["partner", "try", "pinterest", *options])

    said = capsys.readouterr().err
    assert "pinterest: its refresh tokens rotate, and the next one is kept at the output" in said
    assert f"{nowhere}: there is no such file" in said


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (b"date;clicks", 'csv = { delimiter = ";" }'),
        (b"date\tclicks", 'csv = { delimiter = "\\t" }'),
        (b"date,clicks", ""),
        (b"date", ""),
    ],
)
def test_another_delimiter_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], header: bytes, wanted: str
) -> None:
    """No column is found in a header that is not divided: what divides it can be pasted."""
    text = PARTNER.replace('rows = "data[]"', 'format = "csv"', 1)
    text = text.replace('next = { cursor = "next", query = "after" }\n', "")
    (folder / "acme.toml").write_text(text)
    record(folder, (URL, answer(header + b"\n" + header + b"\n")))

    run(folder, "try")

    said = capsys.readouterr().out
    assert ("The header is one field" in said) == bool(wanted)
    assert wanted in said


class Asked:
    """In the place of the HTTP client: a token server, and a partner."""

    def __init__(self, _connections: int) -> None:
        pass

    def send(self, call: Call) -> Answer | Failure:
        if call.url.startswith("https://auth.acme.com/"):
            return answer({"access_token": "hunter2-access", "expires_in": 900})
        return answer(PAGE_2)


def test_the_token_is_fetched_where_one_sees_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where and how it went, and nothing that was sent or came."""
    oauth2 = (
        'auth.oauth2 = { grant = "client_credentials", client_id = "hunter2-app",'
        ' client_secret = { secret = "app" }, token_url = "https://auth.acme.com/token" }'
    )
    (folder / "acme.toml").write_text(PARTNER.replace(PARTNER.splitlines()[2], oauth2))
    (folder / "secrets").mkdir()
    (folder / "secrets/app").write_text("hunter2-secret")
    monkeypatch.setattr("reportd.cli.stage.Client", Asked)
    options = ("--account", "1", "--secrets", str(folder / "secrets"), "--config", "/nothing.toml")

    reportctl.main(["partner", "try", str(folder / "acme.toml"), *options])

    said = capsys.readouterr().out
    assert "     token: POST https://auth.acme.com/token -> 200 in " in said
    assert "  1  GET https://api.acme.com/v2/1/stats" in said
    assert "hunter2" not in said


def test_accounts_as_a_table_for_schedules(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The CSV is a source of accounts: partner, account, zone, credential, attributes."""
    listed = {
        "data": [
            {"id": 17, "timezone": "Europe/Zurich", "team": "a, b", "live": True},
            {"id": 18, "timezone": "America/New_York", "live": False},
        ]
    }
    url = "https://api.acme.com/v2/accounts"
    record(folder, (url, answer(listed)), **ACCOUNTS)

    assert 0 == run(folder, "accounts", "--csv")

    said = capsys.readouterr()
    assert [
        {"partner": "acme", "account": "17", "timezone": "Europe/Zurich", "credential": "main",
         "team": "a, b", "live": "true"},
        {"partner": "acme", "account": "18", "timezone": "America/New_York",
         "credential": "main", "team": "", "live": "false"},
    ] == list(csv.DictReader(io.StringIO(said.out)))  # fmt: skip
    assert f"  1  GET {url}" in said.err


def test_accounts_that_nobody_could_enqueue(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the enqueuer would refuse is said here."""
    row = {"id": "17", "timezone": "Zurich", "live": True}
    url = "https://api.acme.com/v2/accounts"
    record(folder, (url, answer({"data": [row, row]})), **ACCOUNTS)

    assert 1 == run(folder, "accounts", "--json")

    said = capsys.readouterr()
    assert ["17", "17"] == [one["account"] for one in json.loads(said.out)]
    assert "account '17' stands there more than once" in said.err
    assert "account '17': 'Zurich' is no IANA time zone" in said.err


def test_accounts_are_asked_for_without_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A header that names the account is left out where there is none yet."""
    head = 'auth = { headers = { X-Scope = "{{ account.id }}", X-Team = "{{ account.team }}" } }'
    text = PARTNER.replace(PARTNER.splitlines()[2], head)
    (folder / "acme.toml").write_text(text)
    url = "https://api.acme.com/v2/accounts"
    record(folder, (url, answer({"data": []})), attributes={"team": "a"}, **ACCOUNTS)

    assert 0 == run(folder, "accounts", "--csv")

    said = capsys.readouterr()
    assert "partner,account,timezone,currency,credential\n" == said.out
    assert "X-Team: " in said.err
    assert "X-Scope" not in said.err


def test_a_file_without_accounts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What to add is said."""
    (folder / "acme.toml").write_text(PARTNER.partition("[accounts]")[0])

    assert EXIT_CONFIG == run(folder, "accounts")

    assert "add [accounts]" in capsys.readouterr().err
