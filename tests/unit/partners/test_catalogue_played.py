"""The catalogue's partners, played by fakes with their oddities: every report comes out right."""

import re
from collections import Counter
from datetime import date
from typing import Any

import orjson
import pytest

from reportd.demo.truth import Truth
from reportd.errors import InvalidMessageError
from reportd.partners.verdict import Outcome
from reportd.transport.exchange import Answer, Failure, FailureKind
from tests.fakes.amazon_ads import AmazonAds
from tests.fakes.driving import At, Change, Drive, GaveUpError, as_it_is
from tests.fakes.every import FAKES
from tests.fakes.fake import KNOWN, Asked, Fake
from tests.fakes.faults import Faulty
from tests.fakes.ga4 import TOKENS_PER_DAY, TOKENS_PER_HOUR, Ga4
from tests.fakes.google_ads import GoogleAds
from tests.fakes.linkedin import MOST_ELEMENTS, LinkedIn
from tests.fakes.meta import Meta
from tests.fakes.microsoft_ads import MicrosoftAds
from tests.fakes.pinterest import Pinterest
from tests.fakes.tiktok import TikTok

REPORTS = [(fake, report) for fake in FAKES.values() for report in ("campaigns", "ads")]
RESET = Failure(kind=FailureKind.RESET, detail="a fault of the test", seconds=0.1)
SIGNED = re.compile(r"[sS]ig(?:nature)?=")
FIRST, LAST = "2025-11-16", "2025-11-22"
CROWDS: dict[type[Fake], tuple[int, int]] = {
    AmazonAds: (10, 5),
    Ga4: (60, 20),
    GoogleAds: (20, 5),
    LinkedIn: (20, 5),
    Meta: (20, 5),
    MicrosoftAds: (70, 5),
    Pinterest: (130, 5),
    TikTok: (20, 5),
}
"""How many requests at once, and of an account, are too many for each fake."""


def check(run: Drive, report: str, account: str, first: str = FIRST, last: str = LAST) -> int:
    """Run a request and compare every day's rows; return how many there were."""
    if run.fake.name == "amazon_ads":
        report = f"sp_{report}"
    found = run.rows(report, account, first, last)

    assert (min(found), max(found)) == (date.fromisoformat(first), date.fromisoformat(last))
    for day, rows in found.items():
        assert rows == run.wanted(report, account, day), (report, account, day)
    return sum(map(len, found.values()))


@pytest.mark.parametrize(("fake", "report"), REPORTS)
def test_reports_come_out_right(fake: type[Fake], report: str) -> None:
    """Days with rows, without rows, and accounts with nothing at all."""
    run = Drive(fake())
    empty = Drive(fake(Truth(empty_share=1.0)))

    assert sum(check(run, report, f"{1000 + number}") for number in range(5)) > 40
    assert check(empty, report, "1001") == 0
    assert {verdict.outcome for verdict in run.verdicts} <= {Outcome.OK, Outcome.PENDING}


@pytest.mark.parametrize(("fake", "report"), REPORTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reports_come_out_right_under_faults(fake: type[Fake], report: str, seed: int) -> None:
    """A quarter of the calls spoiled: the same rows."""
    faulty = Faulty(fake(), seed, 0.25)
    run = Drive(faulty.fake, faulty)

    assert sum(check(run, report, f"{1000 + number}") for number in range(20)) > 160
    assert faulty.counts["good"] < faulty.counts.total()


class Deaths:
    """Whoever has a request dies at each of its steps; the next one knows what is recorded."""

    def __init__(self) -> None:
        self.places: set[str] = set()

    def die(self, at: At) -> None:
        """Forget what stands in no record, once a place: polls make no record."""
        place = f"{at.cursor} {at.picked}"
        if place not in self.places:
            self.places.add(place)
            at.cursor, at.picked = orjson.loads(orjson.dumps([at.cursor, at.picked]))
            at.volatile = {}


@pytest.mark.parametrize(("fake", "report"), REPORTS)
def test_after_a_death_at_every_step(fake: type[Fake], report: str) -> None:
    """No report is created again, no page or file is asked for twice; the rows are the same."""
    one, deaths = fake(), Deaths()
    run = Drive(one, between=deaths.die)

    assert check(run, report, "1001") > 5

    asked = Counter((call.method, call.url, call.body) for call in one.calls)
    again = [call for call in asked if asked[call] > 1]
    if jobs := getattr(one, "jobs", None):
        assert deaths.places
        assert len(jobs.all) == 1
        assert len(again) == 1  # the poll
        assert sum(bool(SIGNED.search(call.url)) for call in one.calls) <= 1
    else:
        assert again == []


def crowd(fake: type[Fake], change: Change = as_it_is) -> Drive:
    """Play requests that come at once, a quarter of their calls spoiled."""
    faulty = Faulty(fake(), 1, 0.25)
    run = Drive(faulty.fake, faulty, change)
    name = "sp_campaigns" if fake is AmazonAds else "campaigns"
    requests, together = CROWDS[fake]
    bodies = run.at_once(
        run.request(name, f"{1000 + number // together}", f"2025-11-{16 + number % 5}", LAST)
        for number in range(requests)
    )
    assert all(bodies)
    return run


@pytest.mark.parametrize("fake", FAKES.values())
def test_no_limit_is_exceeded_by_a_crowd(fake: type[Fake]) -> None:
    """More at once than the partner takes, and faults: no call is one too many as it counts.

    What else they count, GA4's tokens, LinkedIn's day, Microsoft's reports under way and Meta's
    usage, is tested below.
    """
    assert crowd(fake).fake.too_many == 0


@pytest.mark.parametrize(
    ("fake", "numbers"),
    # of GA4's errors, too, a call takes a place as long as it is under way
    [*((fake, [1, 0] if fake is Ga4 else [0]) for fake in FAKES.values()), (Pinterest, [1])],
)
def test_without_a_limit_a_crowd_is_too_many(fake: type[Fake], numbers: list[int]) -> None:
    """Each limit of their files taken away: their fakes see it, so the test above can fail."""

    def unlimited(file: dict[str, Any]) -> None:
        for number in numbers:
            del file["limits"][number]
        file["unverified"] = {}  # a word on a limit that is gone is refused

    assert crowd(fake, unlimited).fake.too_many > 0


@pytest.mark.parametrize("fake", FAKES.values())
def test_the_partner_s_own_slow_down_is_obeyed(fake: type[Fake]) -> None:
    """Told to wait, it waits for as long as the partner means, and goes on."""
    waits = {
        "amazon_ads": 4.0,
        "ga4": 30.0,
        "google_ads": 10.0,
        "linkedin": 330.0,
        "meta": 120.0,
        "microsoft_ads": 60.0,
        "pinterest": 7.0,
        "tiktok": 60.0,
    }
    faulty = Faulty(fake(), 0, 0.0)
    run = Drive(faulty.fake, faulty)
    check(run, "campaigns", "1001")
    start, calls = run.clock.now, len(run.verdicts)
    check(run, "campaigns", "1002")
    usual = run.clock.now - start
    start, calls = run.clock.now, len(run.verdicts)
    answers = iter([run.fake.slow_down(start)])
    faulty.answer = lambda asked, now: next(answers, None) or run.fake.answer(asked, now)  # type: ignore[method-assign]

    check(run, "campaigns", "1003")

    assert run.verdicts[calls].outcome is Outcome.THROTTLED
    assert abs(run.clock.now - start - usual - waits[fake.name]) < 3


@pytest.mark.parametrize("fake", FAKES.values())
def test_one_account_that_is_gone(fake: type[Fake]) -> None:
    """It is refused for good, or has no rows; the next account is none the worse."""
    run = Drive(fake())
    run.fake.gone.add("1002")
    outcomes: list[Any] = []
    for account in ("1001", "1002", "1003"):
        try:
            name = "sp_campaigns" if fake is AmazonAds else "campaigns"
            outcomes.append(any(run.rows(name, account, FIRST, LAST).values()))
        except GaveUpError as error:
            outcomes.append(error.verdict.outcome)

    # LinkedIn says nothing: an empty answer is all that there is
    expected = False if fake is LinkedIn else Outcome.PERMANENT
    assert outcomes == [True, expected, True]


def test_google_s_day_is_spent() -> None:
    """The error says how long, and the whole token waits: no attempt, no dead letter."""
    fake = GoogleAds()
    fake.left_today = 0
    run = Drive(fake)
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
    run = Drive(fake)
    check(run, "campaigns", "1001")

    with pytest.raises(AssertionError, match="no end"):
        check(run, "campaigns", "1002")

    verdict = run.verdicts[1]
    assert (verdict.outcome, verdict.scope) == (Outcome.QUOTA, "credential")
    # from 04:00:02 UTC to a minute past midnight
    assert verdict.wait_seconds is not None
    assert 20 * 3600 < verdict.wait_seconds + 60 < 20 * 3600 + 180


def test_ga4_slows_down_before_its_tokens_are_spent() -> None:
    """Good answers say what is left: the next hour is waited for, and nothing is refused."""
    fake = Ga4()
    fake.tokens_a_call = TOKENS_PER_HOUR // 4 - 40
    run = Drive(fake)
    begin = run.clock.now
    for _ in range(10):
        check(run, "campaigns", "1001")

    assert {verdict.outcome for verdict in run.verdicts} == {Outcome.OK}
    assert 2 * 3600 < run.clock.now - begin < 2 * 3600 + 120


@pytest.mark.parametrize(
    ("tokens", "least", "most"),
    [(TOKENS_PER_HOUR, 1800, 5400), (TOKENS_PER_DAY, 18 * 3600, 20 * 3600)],
)
def test_ga4_s_tokens_that_others_spend(tokens: int, least: float, most: float) -> None:
    """An hour's end is waited for in half hours; the day's until midnight in California."""
    fake = Ga4()
    run = Drive(fake)
    run.clock.now += 8.5 * 3600  # Pacific's day has begun at 8:00 UTC
    begin = run.clock.now
    fake.others_use("1001", tokens, begin)

    assert check(run, "campaigns", "1001") > 0

    assert {verdict.scope for verdict in run.verdicts[:-1]} == {"account"}
    assert {verdict.outcome for verdict in run.verdicts[:-1]} == {Outcome.QUOTA}
    assert least <= run.clock.now - begin <= most
    assert run.attempts == 0


def test_ga4_s_ten_server_errors_an_hour() -> None:
    """Errors of Google's own servers count against the property: never more than ten."""
    fake = Ga4()
    faulty = Faulty(fake, 0, 0.0)
    run = Drive(fake, faulty)
    errors: list[float] = []

    def failing(asked: Asked, now: float) -> Answer | Failure:
        if len(errors) < 21:
            errors.append(now)
            return Answer(status=500, headers={}, body=b"{}", seconds=0.1)
        return fake.answer(asked, now)

    faulty.answer = failing  # type: ignore[method-assign]

    assert check(run, "campaigns", "1001") > 0
    assert max(sum(at <= other < at + 3600 for other in errors) for at in errors) <= 10


def test_meta_slows_down_before_it_refuses() -> None:
    """A header of good answers says 95 per cent: the ad account's next call waits."""
    fake = Meta()
    run = Drive(fake)
    begin = run.clock.now
    check(run, "campaigns", "1001")
    usual = run.clock.now - begin
    fake.used = 95
    begin = run.clock.now

    check(run, "campaigns", "1001")

    assert run.clock.now - begin > usual + 100
    assert {pace.scope for verdict in run.verdicts for pace in verdict.paces} == {"account"}


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
    run = Drive(TikTok())
    run.fake.truth = Truth(max_rows_per_day=600)

    rows = check(run, "ads", "1001")

    assert rows > 1000
    assert run.fake.count("report/integrated") == -(-rows // 1000)
    with pytest.raises(InvalidMessageError, match="at most 30"):
        run.rows("ads", "1001", "2025-10-01", "2025-11-22")


def test_linkedin_s_fifteen_thousand() -> None:
    """A full answer is cut: halved until each part is less, and no row is missing or twice."""

    def fewer(file: dict[str, Any]) -> None:
        (rule,) = file["too_big"]
        assert f"`{MOST_ELEMENTS}`" in rule["body"]
        rule["body"] = rule["body"].replace(f"`{MOST_ELEMENTS}`", "`150`")

    fake = LinkedIn(Truth(max_rows_per_day=120, empty_share=0.0))
    fake.most_elements = 150
    run = Drive(fake, change=fewer)

    assert check(run, "campaigns", "1001") > 150
    assert Outcome.TOO_BIG in {verdict.outcome for verdict in run.verdicts}
    assert run.attempts == 0


def test_amazon_s_lost_create_is_adopted() -> None:
    """Made, but its answer got lost: the 425 of the next create names it; none is made twice."""
    fake = AmazonAds()
    faulty = Faulty(fake, 0, 0.0)
    run = Drive(fake, faulty)
    answers = iter(["lost"])

    def lose_first(asked: Asked, now: float) -> Answer | Failure:
        found = fake.answer(asked, now)
        return RESET if next(answers, "") else found

    faulty.answer = lose_first  # type: ignore[method-assign]

    assert check(run, "campaigns", "1001") > 0
    assert len(fake.jobs.all) == 1
    assert [asked.method for asked in fake.calls].count("POST") == 2


@pytest.mark.parametrize("fake", [AmazonAds, MicrosoftAds, Pinterest])
def test_a_url_that_has_ended_is_asked_for_anew(fake: type[Fake]) -> None:
    """The download comes too late: a fresh URL, no second report."""
    one = fake()
    faulty = Faulty(one, 0, 0.0)
    run = Drive(one, faulty)
    late = iter([4000.0 if fake is AmazonAds else 400.0])

    def dawdle(asked: Asked, now: float) -> Answer | Failure:
        if "ignature=" in asked.url or "sig=" in asked.url:
            run.clock.now += next(late, 0.0)
        return one.answer(asked, run.clock.now)

    faulty.answer = dawdle  # type: ignore[method-assign]

    assert check(run, "campaigns", "1001") > 0
    assert [verdict.outcome for verdict in run.verdicts].count(Outcome.EXPIRED) == 1
    assert len(one.jobs.all) == 1  # type: ignore[attr-defined]


def test_amazon_s_false_401() -> None:
    """While polling it is tried again; at a create it is the credential."""
    fake = AmazonAds()
    fake.false_401s = 2
    run = Drive(fake)

    assert check(run, "campaigns", "1001") > 0
    assert len(fake.jobs.all) == 1
    fake.secrets = {"amazon-ads-client-id": "another"}  # type: ignore[misc]
    with pytest.raises(GaveUpError, match="auth"):
        Drive(fake).rows("sp_campaigns", "1001", FIRST, LAST)


@pytest.mark.parametrize(
    ("fake", "fate", "words"),
    [
        (AmazonAds, "failed", "An internal error occurred"),
        (Meta, "failed", "Your report could not be run due to a temporary issue."),
        (Meta, "skipped", "expired"),
        (MicrosoftAds, "failed", "failed"),
        (Pinterest, "FAILED", "failed"),
        (Pinterest, "CANCELLED", "cancelled"),
        (Pinterest, "DOES_NOT_EXIST", "expired"),
    ],
)
def test_a_report_that_fails_is_made_again(fake: type[Fake], fate: str, words: str) -> None:
    """An attempt, with the partner's reason; the second one is the answer."""
    one = fake()
    one.jobs.fates = [fate]  # type: ignore[attr-defined]
    run = Drive(one)

    assert check(run, "campaigns", "1001") > 0
    failed = [verdict for verdict in run.verdicts if verdict.outcome is Outcome.FAILED]
    assert len(failed) == 1
    assert words in failed[0].reason
    assert len(one.jobs.all) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "scope"), [(4, "partner"), (17, "account"), (613, "account"), (80004, "account")]
)
def test_meta_s_codes_for_too_many_calls(code: int, scope: str) -> None:
    """HTTP 400, a code, and minutes in a header: the app waits, or the ad account."""
    fake = Meta()
    fake.refusals = [code, code]
    run = Drive(fake)

    assert check(run, "campaigns", "1001") > 0
    told = run.verdicts[:2]
    assert [(one.outcome, one.scope) for one in told] == [(Outcome.THROTTLED, scope)] * 2
    assert [one.wait_seconds for one in told] == [180.0, 180.0]
    assert run.attempts == 0


def test_meta_s_too_big_a_run() -> None:
    """It wants a smaller range: halved, until it is taken."""
    fake = Meta()
    fake.most_days = 2
    run = Drive(fake)

    assert check(run, "ads", "1001") > 0
    assert [verdict.outcome for verdict in run.verdicts].count(Outcome.TOO_BIG) == 2
    spans = [(job.what["since"], job.what["until"]) for job in fake.jobs.all]
    assert spans == [
        ("2025-11-16", "2025-11-17"),
        ("2025-11-18", "2025-11-19"),
        ("2025-11-20", "2025-11-21"),
        ("2025-11-22", "2025-11-22"),
    ]


def test_meta_s_run_that_was_too_big() -> None:
    """It fails, and says that it was too much: the days are halved, nothing is an attempt."""
    fake = Meta()
    fake.jobs.fates = ["too big"]
    run = Drive(fake)

    assert check(run, "ads", "1001") > 0
    assert [verdict.outcome for verdict in run.verdicts].count(Outcome.TOO_BIG) == 1
    assert len(fake.jobs.all) == 3
    assert run.attempts == 0


def test_meta_says_completed_before_it_is() -> None:
    """Only at 100 per cent is it done; a run that never is, is made again."""
    fake = Meta()
    fake.jobs.seconds_to_make = 300
    fake.jobs.fates = ["99 %"]
    run = Drive(fake)

    assert check(run, "campaigns", "1001") > 0
    failed = [verdict for verdict in run.verdicts if verdict.outcome is Outcome.FAILED]
    assert [one.reason for one in failed] == ["HTTP 200: not done after 7200 s"]
    assert len(fake.jobs.all) == 2


def test_pinterest_s_report_ends_after_an_hour() -> None:
    """Nobody looked for too long: it is made anew."""
    fake = Pinterest()
    faulty = Faulty(fake, 0, 0.0)
    run = Drive(fake, faulty)
    late = iter([0.0, 4000.0])

    def dawdle(asked: Asked, now: float) -> Answer | Failure:
        run.clock.now += next(late, 0.0)
        return fake.answer(asked, run.clock.now)

    faulty.answer = dawdle  # type: ignore[method-assign]

    assert check(run, "campaigns", "1001") > 0
    assert len(fake.jobs.all) == 2


@pytest.mark.parametrize("fake", FAKES.values())
def test_accounts_are_listed(fake: type[Fake]) -> None:
    """With zone and currency, as the accounts table wants them; all pages of them."""

    def as_report(file: dict[str, Any]) -> None:
        file["reports"]["accounts"] = file["accounts"]

    run = Drive(fake(), change=as_report)

    (rows,) = run.rows("accounts", "-", LAST, LAST).values()

    prefix = "properties/" if fake is Ga4 else ""
    assert [row["account"] for row in rows] == [f"{prefix}{one.account}" for one in KNOWN]
    assert [row["currency"] for row in rows] == [one.currency for one in KNOWN]
    assert [row["name"] for row in rows] == [one.name for one in KNOWN]
    utc = fake in (LinkedIn, Pinterest)
    if fake is not MicrosoftAds:
        zones = ["UTC" if utc else one.timezone for one in KNOWN]
        assert [row["timezone"] for row in rows] == zones
    for name in {"manager", "api_host"} & set(fake.attributes):
        assert {row[name] for row in rows} == {fake.attributes[name]}
    if fake is Ga4:
        named = [run.rows("campaigns", name, FIRST, LAST) for name in ("1001", "properties/1001")]
        sessions = [[row["sessions"] for day in found.values() for row in day] for found in named]
        assert sessions[0] == sessions[1] != []
    if fake is Meta:
        assert [row["active"] for row in rows] == [True, True, False]


def test_microsoft_s_five_reports_at_once() -> None:
    """207: it waits for a minute, then for two; no attempt."""
    fake = MicrosoftAds()
    fake.jobs.seconds_to_make = 100
    run = Drive(fake)
    for number in range(5):
        fake.jobs.create(f"{number}", {}, run.clock.now)

    assert check(run, "campaigns", "1001") > 0
    told = [verdict for verdict in run.verdicts if verdict.outcome is Outcome.THROTTLED]
    assert {verdict.scope for verdict in told} == {"credential"}
    assert 1 <= len(told) <= 2
    assert run.attempts == 0


def test_microsoft_s_success_without_a_url() -> None:
    """There is no data: no rows, no download, a file with its columns."""
    run = Drive(MicrosoftAds(Truth(empty_share=1.0)))

    assert check(run, "ads", "1001") == 0
    assert run.fake.count("blob.core") == 0


def test_linkedin_s_days_have_no_leading_zero() -> None:
    """Its numbers are numbers: the first days of a month too."""
    assert check(Drive(LinkedIn()), "campaigns", "1001", "2026-02-01", "2026-02-09") > 0
