"""Recorded answers of real partners: parsed to rows that were written down by hand, and judged."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.load import load_partner
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.verdict import Outcome, Verdict
from reportd.sinks.gathering import table_of
from reportd.transport.credentials import Auth
from tests.recorded import CASES
from tests.unit.partners.making import NOW, answer, request

DATA = Path(__file__).parents[2] / "data"
RECORDED = DATA / "recorded"


def load(name: str) -> Partner:
    return load_partner(DATA / "partners" / "recorded" / f"{name}.toml")


def ask(name: str, report: str, first: str, last: str) -> Request:
    return request(
        partner=name,
        report=report,
        first_day=first,
        last_day=last,
        attributes={"manager": "77"},
    )


def plain(value: Any) -> Any:
    """Return a value as the expectations write it."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize(("name", "report", "file", "first", "last"), CASES)
def test_recorded_answers_become_rows(
    name: str, report: str, file: str, first: str, last: str
) -> None:
    """Every day asked for has its rows, typed as declared; an empty day has none."""
    partner, wanted = load(name), ask(name, report, first, last or first)
    partner.check_request(wanted)
    body = (RECORDED / name / file).read_bytes()

    verdict = Flow(partner, wanted, Auth()).judge({}, answer(body), NOW)
    tables = to_tables(partner, wanted, [body], NOW)

    expected = orjson.loads((DATA / "partners" / "expected" / f"{name}.{report}.json").read_bytes())
    found = {
        day.isoformat(): [
            {key: plain(value) for key, value in row.items()} for row in table_of(table).to_pylist()
        ]
        for day, table in tables.items()
    }
    assert verdict == Verdict(outcome=Outcome.OK)
    assert found == expected
    assert all(table.schema == next(iter(tables.values())).schema for table in tables.values())


def judged(name: str, report: str, body: bytes, status: int, **headers: str) -> Verdict:
    partner, wanted = load(name), ask(name, report, "2025-11-21", "2025-11-21")
    flow = Flow(partner, wanted, Auth(secrets=("xN_KaZRHZuU6Rlgt3cM2uQ",)))
    return flow.judge({}, answer(body, status, **headers), NOW)


def test_google_says_in_the_body_how_long() -> None:
    """The day's operations are spent: 40591 s, whatever the header (there is none) says."""
    body = (RECORDED / "google_ads" / "error_429_resource_exhausted.json").read_bytes()

    found = judged("google_ads", "ads", body, 429)

    assert (found.outcome, found.wait_seconds, found.scope) == (Outcome.QUOTA, 40591, "account")
    assert b"RESOURCE_EXHAUSTED" in found.sample
    assert b"xN_KaZRHZuU6" not in found.sample


@pytest.mark.parametrize("file", ["error_80000.json", "error_80004.json"])
def test_meta_says_400_and_means_wait(file: str) -> None:
    """Code 80004 is a limit; the usage header says minutes, 0 there says nothing."""
    body = (RECORDED / "meta" / file).read_bytes()
    usage = (RECORDED / "meta" / "header_x_business_use_case_usage.json").read_text()

    silent = judged("meta", "insights", body, 400, **{"x-business-use-case-usage": usage})
    busy = usage.replace(
        '"estimated_time_to_regain_access": 0', '"estimated_time_to_regain_access": 7'
    )
    told = judged("meta", "insights", body, 400, **{"x-business-use-case-usage": busy})

    assert (silent.outcome, silent.wait_seconds) == (Outcome.THROTTLED, 300)
    assert (told.outcome, told.wait_seconds, told.scope) == (Outcome.THROTTLED, 420, "account")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (40100, Outcome.THROTTLED),
        (40105, Outcome.AUTH),
        (50002, Outcome.TRANSIENT),
        (40002, Outcome.PERMANENT),
    ],
)
def test_tiktok_says_everything_with_200(code: int, outcome: Outcome) -> None:
    """The body's code is the verdict."""
    body = orjson.dumps({"code": code, "message": "App reaches the QPS limit 10", "data": {}})

    assert judged("tiktok", "hourly", body, 200).outcome is outcome


def test_linkedin_gives_no_hint() -> None:
    """429 without a header: the day's quota, back at midnight UTC."""
    found = judged("linkedin", "campaigns", b'{"message":"Resource level throttle limit"}', 429)

    assert (found.outcome, found.wait_seconds) == (Outcome.QUOTA, 20 * 3600 + 60)


def test_the_calls_for_recorded_partners() -> None:
    """The files make the calls that the partners document."""
    google = Flow(load("google_ads"), ask("google_ads", "ads", "2025-11-20", "2025-11-21"), Auth())
    linked = Flow(
        load("linkedin"), ask("linkedin", "campaigns", "2025-11-20", "2025-11-21"), Auth()
    )

    call = google.call({})
    assert call.url == "https://googleads.googleapis.com/v21/customers/acc-1/googleAds:searchStream"
    assert call.headers["login-customer-id"] == "77"
    assert b"BETWEEN '2025-11-20' AND '2025-11-21'" in (call.body or b"")
    assert linked.call({"page": "10"}).url == (
        "https://api.linkedin.com/rest/adAnalytics?q=analytics&pivot=CAMPAIGN"
        "&timeGranularity=DAILY&accounts=List%28acc-1%29&dateRange.start.year=2025"
        "&start=10&count=10"
    )
