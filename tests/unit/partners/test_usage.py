"""Slowing down before a limit is hit."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from reportd.errors import ConfigError
from reportd.partners.verdict import Outcome, Pace, Verdict
from reportd.transport.exchange import Answer, Failure, FailureKind
from tests.unit.partners.making import NOW, answer, flow, partner

RECORDED = Path(__file__).parents[2] / "data" / "recorded"
ROWS: dict[str, Any] = {"data": []}
META = """
[[usage]]
used = "header:X-Business-Use-Case-Usage:values(@)[].[call_count, total_cputime, total_time][]"
above = 75
wait = "header:X-Business-Use-Case-Usage:max(values(@)[].estimated_time_to_regain_access)"
wait_unit = "minutes"
pace_seconds = 60
scope = "account"
[[usage]]
used = "header:X-FB-Ads-Insights-Throttle:app_id_util_pct"
pace_seconds = 10
scope = "partner"
"""
LEFT = """
[[usage]]
left = "header:X-RateLimit-Remaining"
below = 5
wait = "header:X-RateLimit-Reset"
wait_unit = "epoch"
wait_seconds = 20
"""


def judged(section: str, given: Answer | Failure) -> Verdict:
    return flow(partner(section)).judge({}, given, NOW)


def meta(call_count: int = 0, minutes: int = 0) -> str:
    known = orjson.loads((RECORDED / "meta" / "header_x_business_use_case_usage.json").read_bytes())
    first = next(iter(known.values()))[0]
    first["call_count"], first["estimated_time_to_regain_access"] = call_count, minutes
    for others in known.values():
        for other in others:
            other["total_cputime"] = other["total_time"] = 0
    return orjson.dumps(known).decode()


def test_lists_within_lists() -> None:
    """Without the last ``[]`` each entry is a list of its own; all of them count."""
    given = answer(ROWS, x_business_use_case_usage=meta(100))

    assert judged(META.replace("total_time][]", "total_time]"), given).paces[0].wait_seconds == 60


@pytest.mark.parametrize(
    ("call_count", "minutes", "paces"),
    [
        (74, 0, ()),
        (80, 0, (Pace("account", 12),)),
        (100, 0, (Pace("account", 60),)),
        (400, 0, (Pace("account", 60),)),
        (100, 7, (Pace("account", 420),)),
    ],
)
def test_metas_table_of_lists(call_count: int, minutes: int, paces: tuple[Pace, ...]) -> None:
    """A good answer that says how near the end is; the nearer, the slower."""
    found = judged(META, answer(ROWS, x_business_use_case_usage=meta(call_count, minutes)))

    assert (found.outcome, found.paces) == (Outcome.OK, paces)


def test_each_header_slows_what_it_means() -> None:
    """The app's share slows the app, the account's the account."""
    found = judged(
        META,
        answer(
            ROWS,
            x_business_use_case_usage=meta(100),
            x_fb_ads_insights_throttle='{"app_id_util_pct": 90.0, "acc_id_util_pct": 0}',
        ),
    )

    assert found.paces == (Pace("account", 60), Pace("partner", 5))


def test_the_recorded_header_alone() -> None:
    """As it was recorded, one of its numbers is at 95."""
    text = (RECORDED / "meta" / "header_x_business_use_case_usage.json").read_text()

    assert judged(META, answer(ROWS, x_business_use_case_usage=text)).paces == (
        Pace("account", 48),
    )


@pytest.mark.parametrize(
    ("headers", "paces"),
    [
        ({"x_ratelimit_remaining": "6", "x_ratelimit_reset": f"{NOW + 9:.0f}"}, ()),
        ({"x_ratelimit_remaining": "5", "x_ratelimit_reset": f"{NOW + 9:.0f}"}, 9),
        ({"x_ratelimit_remaining": "0"}, 20),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "0"}, 20),
        ({"x_ratelimit_remaining": "few"}, ()),
        ({}, ()),
    ],
)
def test_what_is_left(headers: dict[str, Any], paces: Any) -> None:
    """Until the partner's own reset, else as the file says."""
    wanted = paces if paces == () else (Pace("account", paces),)

    assert judged(LEFT, answer(ROWS, **headers)).paces == wanted


def test_a_quota_in_the_body() -> None:
    """GA4 says what is left of an hour in the body of every answer."""
    section = (
        "[[usage]]\nleft = 'body:quota.tokensPerHour.remaining'\nbelow = 100\nwait_until = 'hour'\n"
    )

    assert judged(section, answer({**ROWS, "quota": {"tokensPerHour": {"remaining": 40}}})).paces
    assert not judged(
        section, answer({**ROWS, "quota": {"tokensPerHour": {"remaining": 140}}})
    ).paces


def test_a_share_in_words() -> None:
    """``95 %`` and 0.95 are shares, too."""
    percent = "[[usage]]\nused = 'header:X-Load'\npace_seconds = 8\n"
    share = "[[usage]]\nused = 'header:X-Load'\nfull = 1\nabove = 0.5\npace_seconds = 8\n"

    assert judged(percent, answer(ROWS, x_load="90 %")).paces == (Pace("account", 4),)
    assert judged(share, answer(ROWS, x_load="0.75")).paces == (Pace("account", 4),)


def test_refused_answers_say_it_too() -> None:
    """Whatever the outcome; no answer says nothing."""
    headers: Any = {"x_ratelimit_remaining": "0"}
    gone = Failure(kind=FailureKind.RESET, detail="broken", seconds=0.1)

    assert judged(LEFT, answer(b"", 500, **headers)).paces == (Pace("account", 20),)
    assert judged(LEFT, gone).paces == ()


def test_server_errors_are_told() -> None:
    """What a limit of errors counts."""
    assert judged("", answer(b"", 503)).is_server_error
    assert judged("transient = [{ status = 500 }]\n", answer(b"", 500)).is_server_error
    assert not judged("", answer(b"", 429)).is_server_error
    assert not judged("", answer(ROWS)).is_server_error


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("pace_seconds = 1", "give exactly one of used, left"),
        (
            "used = 'header:X', left = 'header:Y', pace_seconds = 1",
            "give exactly one of used, left",
        ),
        ("used = 'X', pace_seconds = 1", "write header:NAME"),
        ("used = 'header:X'", "pace_seconds: is missing"),
        ("used = 'header:X', full = 1, pace_seconds = 1", "above: must be less than full"),
        ("used = 'header:X', pace_seconds = 1, wait_seconds = 1", "both say how long"),
        ("used = 'header:X', pace_seconds = 1, scope = 'call'", "must be one of"),
    ],
)
def test_mistakes(rule: str, wanted: str) -> None:
    """Each is said in words that help."""
    with pytest.raises(ConfigError) as caught:
        partner(f"usage = [{{ {rule} }}]\n")

    assert wanted in str(caught.value)
