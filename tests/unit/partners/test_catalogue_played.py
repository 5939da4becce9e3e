"""The catalogue's partners, played by fakes with their oddities: every report comes out right."""

from datetime import date
from typing import Any

import pytest

from reportd.demo.truth import Truth
from reportd.errors import InvalidMessageError
from reportd.partners.verdict import Outcome
from tests.fakes.driving import Drive, GaveUpError
from tests.fakes.fake import Fake
from tests.fakes.faults import Faulty
from tests.fakes.ga4 import TOKENS_PER_HOUR, Ga4
from tests.fakes.google_ads import DEVELOPER_TOKEN, GoogleAds
from tests.fakes.linkedin import LinkedIn
from tests.fakes.tiktok import TikTok

SECRETS = {
    "google_ads": (("developer-token", DEVELOPER_TOKEN),),
    "tiktok": (("Access-Token", "access-token-0123456789"),),
}
FAKES: list[type[Fake]] = [Ga4, GoogleAds, LinkedIn, TikTok]
REPORTS = [(fake, report) for fake in FAKES for report in ("campaigns", "ads")]
FIRST, LAST = "2025-11-16", "2025-11-22"


def drive(fake: Fake, through: Faulty | None = None) -> Drive:
    """Return what runs requests against a fake."""
    return Drive(fake, through, secrets=SECRETS.get(fake.name, ()))


def check(run: Drive, report: str, account: str, first: str = FIRST, last: str = LAST) -> int:
    """Run a request and compare every day's rows; return how many there were."""
    found = run.rows(report, account, first, last)

    assert (min(found), max(found)) == (date.fromisoformat(first), date.fromisoformat(last))
    for day, rows in found.items():
        assert rows == run.wanted(report, account, day), (report, account, day)
    return sum(map(len, found.values()))


@pytest.mark.parametrize(("fake", "report"), REPORTS)
def test_reports_come_out_right(fake: type[Fake], report: str) -> None:
    """Days with rows, without rows, and accounts with nothing at all; below the limits."""
    run = drive(fake())
    empty = drive(fake(Truth(empty_share=1.0)))

    assert sum(check(run, report, f"{1000 + number}") for number in range(5)) > 40
    assert check(empty, report, "1001") == 0
    assert run.fake.too_many == 0
    assert {verdict.outcome for verdict in run.verdicts} == {Outcome.OK}


@pytest.mark.parametrize(("fake", "report"), REPORTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reports_come_out_right_under_faults(fake: type[Fake], report: str, seed: int) -> None:
    """A quarter of the calls spoiled: the same rows, and no limit exceeded."""
    faulty = Faulty(fake(), seed, 0.25)
    run = drive(faulty.fake, faulty)

    assert sum(check(run, report, f"{1000 + number}") for number in range(20)) > 160
    assert faulty.counts["good"] < faulty.counts.total()
    assert run.fake.too_many == 0


@pytest.mark.parametrize("fake", FAKES)
def test_the_partner_s_own_slow_down_is_obeyed(fake: type[Fake]) -> None:
    """Told to wait, it waits for as long as the partner means, and goes on."""
    waits = {"tiktok": 60.0, "linkedin": 330.0, "google_ads": 5.0, "ga4": 30.0}
    faulty = Faulty(fake(), 0, 0.0)
    run = drive(faulty.fake, faulty)
    check(run, "campaigns", "1001")
    before = run.clock.now
    told = run.fake.slow_down(before)
    answers = iter([told])
    faulty.answer = lambda asked, now: next(answers, None) or run.fake.answer(asked, now)  # type: ignore[method-assign]

    check(run, "campaigns", "1002")

    assert run.verdicts[1].outcome is Outcome.THROTTLED
    assert 0 <= run.clock.now - before - waits[fake.name] < 3


@pytest.mark.parametrize("fake", FAKES)
def test_one_account_that_is_gone(fake: type[Fake]) -> None:
    """It is refused for good, or has no rows; the next account is none the worse."""
    run = drive(fake())
    run.fake.gone.add("1002")
    outcomes: list[Any] = []
    for account in ("1001", "1002", "1003"):
        try:
            outcomes.append(bool(run.rows("campaigns", account, FIRST, LAST)))
        except GaveUpError as error:
            outcomes.append(error.verdict.outcome)

    # LinkedIn says nothing: an empty answer is all that there is
    expected = True if fake is LinkedIn else Outcome.PERMANENT
    assert outcomes == [True, expected, True]


def test_google_s_day_is_spent() -> None:
    """The error says how long, and the whole token waits: no attempt, no dead letter."""
    fake = GoogleAds()
    fake.left_today = 0
    run = drive(fake)
    before = run.clock.now

    with pytest.raises(AssertionError, match="no end"):
        check(run, "campaigns", "1001")

    assert {verdict.outcome for verdict in run.verdicts} == {Outcome.QUOTA}
    assert {verdict.scope for verdict in run.verdicts} == {"partner"}
    assert {verdict.wait_seconds for verdict in run.verdicts} == {40591.0}
    assert run.clock.now - before > 40591
    assert run.attempts == 0


def test_linkedin_s_day_is_spent() -> None:
    """Without any header: until midnight UTC, for the member whose token it is."""
    fake = LinkedIn()
    fake.left_today = 1
    run = drive(fake)
    check(run, "campaigns", "1001")

    with pytest.raises(AssertionError, match="no end"):
        check(run, "campaigns", "1002")

    verdict = run.verdicts[1]
    assert (verdict.outcome, verdict.scope) == (Outcome.QUOTA, "credential")
    # from 04:00:02 UTC to a minute past midnight
    assert verdict.wait_seconds is not None
    assert 20 * 3600 < verdict.wait_seconds + 60 < 20 * 3600 + 180


def test_ga4_s_tokens_of_the_hour_and_of_the_day() -> None:
    """An hour's end is waited for in half hours; the day's until midnight in California."""
    fake = Ga4()
    fake.tokens_a_call = TOKENS_PER_HOUR
    run = drive(fake)
    run.clock.now += 4.5 * 3600  # Pacific's day has begun at 8:00 UTC
    for _ in range(6):
        check(run, "campaigns", "1001")

    quota = [verdict for verdict in run.verdicts if verdict.outcome is Outcome.QUOTA]
    assert {verdict.scope for verdict in quota} == {"account"}
    waits = [verdict.wait_seconds or 0.0 for verdict in quota]
    assert set(waits[:-1]) == {1800.0}
    assert 18 * 3600 < waits[-1] < 20 * 3600
    assert run.attempts == 0


def test_ga4_pages_by_offset() -> None:
    """A full page asks for the next offset; the one that is not full is the last."""

    def small(file: dict[str, Any]) -> None:
        report = file["reports"]["campaigns"]
        report["json"]["limit"] = 5
        report["next"] |= {"size": 5, "step": 5}

    run = Drive(Ga4(), change=small)

    rows = check(run, "campaigns", "1001")

    assert rows > 10
    assert run.fake.count("runReport") == rows // 5 + 1


def test_tiktok_s_pages_and_its_30_days() -> None:
    """A thousand rows a page; a longer range is refused before it is asked for."""
    run = drive(TikTok())
    run.fake.truth = Truth(max_rows_per_day=600)

    rows = check(run, "ads", "1001")

    assert rows > 1000
    assert run.fake.count("report/integrated") == -(-rows // 1000)
    with pytest.raises(InvalidMessageError, match="at most 30"):
        run.rows("ads", "1001", "2025-10-01", "2025-11-22")
