"""How long to wait."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import ConfigError
from reportd.partners.body import Body
from reportd.partners.report_spec import ReportSpec
from reportd.partners.rule_spec import WaitRuleSpec
from reportd.partners.verdict import Growing, Verdict
from reportd.partners.waits import MAX_WAIT_SECONDS, compile_waiting, seconds_from, until
from reportd.transport.exchange import Answer
from tests.unit.partners.making import NOW, answer, flow, partner


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        (30, "seconds", 30),
        (1.5, "seconds", 1.5),
        ("30", "seconds", 30),
        (" 30 ", "seconds", 30),
        ("40591s", "seconds", 40591),
        ("1.5s", "minutes", 1.5),
        ("250ms", "seconds", 0.25),
        ("2m", "seconds", 120),
        ("5", "minutes", 300),
        (1500, "milliseconds", 1.5),
        (int(NOW) + 60, "epoch", 60),
        (str(int(NOW) - 60), "epoch", 0),
        ("Sat, 22 Nov 2025 04:01:00 GMT", "seconds", 60),
        ("Sat, 22 Nov 2025 03:00:00 GMT", "seconds", 0),
        ("2025-11-22T04:02:00Z", "seconds", 120),
        ("2025-11-22T05:02:00+01:00", "seconds", 120),
        ([7, [0, "9", "soon"], 8], "seconds", 9),
        (-5, "seconds", 0),
        (10**300, "seconds", MAX_WAIT_SECONDS),
        (int(NOW) + 60, "seconds", 60),
        (str(int(NOW) - 60), "seconds", 0),
        ((int(NOW) + 60) * 1000, "milliseconds", 60),
        ((int(NOW) + 60) * 1000, "seconds", 60),
        (86400 * 40, "seconds", MAX_WAIT_SECONDS),
        (None, "seconds", None),
        (True, "seconds", None),
        ("soon", "seconds", None),
        ("", "seconds", None),
        ([], "seconds", None),
        ({"a": 1}, "seconds", None),
        (float("nan"), "seconds", None),
        (float("inf"), "seconds", None),
        ("9" * 200, "seconds", None),
    ],
)
def test_waits(value: Any, unit: str, seconds: float | None) -> None:
    """Numbers, durations, dates; anything else says nothing."""
    assert seconds_from(value, NOW, unit) == seconds


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=2),
    ),
    st.sampled_from(["seconds", "minutes", "milliseconds", "epoch"]),
)
def test_a_wait_is_bounded_whatever_comes(value: Any, unit: str) -> None:
    """No answer can make a scope wait for ever, or crash the judge."""
    found = seconds_from(value, NOW, unit)

    assert found is None or 0 <= found <= MAX_WAIT_SECONDS


@pytest.mark.parametrize(
    ("when", "seconds"),
    [
        ("midnight UTC", 20 * 3600 + 60),
        ("midnight America/Los_Angeles", 4 * 3600 + 60),
        ("midnight Asia/Tokyo", 11 * 3600 + 60),
        ("03:30 UTC", 23.5 * 3600 + 60),
        ("04:00 UTC", 24 * 3600 + 60),
        ("04:30 UTC", 1800 + 60),
        ("hour", 3600 + 60),
    ],
)
def test_the_next_reset(when: str, seconds: float) -> None:
    """A quota comes back at a time of the partner's day, a minute later to be sure."""
    assert until(when, NOW) == seconds


def test_the_next_hour() -> None:
    """From within one."""
    assert until("hour", NOW + 600) == 3000 + 60


def test_midnight_when_clocks_change() -> None:
    """The night the clocks go back is an hour longer."""
    assert until("midnight Europe/Zurich", 1_761_429_600.0) == 25 * 3600 + 60


RECORDED = Path(__file__).parents[2] / "data" / "recorded"
META_MINUTES = "header:X-Business-Use-Case-Usage:max(values(@)[].estimated_time_to_regain_access)"
GOOGLE_DELAY = "body:error.details[].errors[].details.quotaErrorDetails.retryDelay"


@pytest.mark.parametrize(
    ("rule", "given", "seconds"),
    [
        ({"wait": "header:Retry-After"}, answer(retry_after="7"), 7),
        ({"wait": "header:Retry-After"}, answer(retry_after="Sat, 22 Nov 2025 04:01:00 GMT"), 60),
        ({"wait": "header:X-Reset", "wait_unit": "epoch"}, answer(x_reset=f"{NOW + 9:.0f}"), 9),
        ({"wait": "header:X-Reset", "wait_unit": "epoch_milliseconds"},
         answer(x_reset=f"{NOW * 1000 + 9500:.0f}"), 9.5),
        ({"wait": "header:X-Reset"}, answer(x_reset="2025-11-22T04:00:30Z"), 30),
        ({"wait": "body:retry_ms", "wait_unit": "milliseconds"}, answer({"retry_ms": 1500}), 1.5),
        ({"wait": "body:hours", "wait_unit": "hours"}, answer({"hours": 2}), 7200),
        ({"wait": "text:in ([0-9.]+) seconds"}, answer(b"try again in 2.5 seconds."), 2.5),
        ({"wait": "text:[0-9]+", "wait_unit": "minutes"}, answer(b"wait 3, please"), 180),
        ({"wait": "text:(?:(?P<hours>\\d+) h )?(?:(?P<minutes>\\d+) min )?(?P<seconds>\\d+) s"},
         answer(b"back in 1 h 2 s"), 3602),
        ({"wait": "text:in (\\w+) seconds"}, answer(b"in some seconds"), None),
        ({"wait": "text:(?P<seconds>\\w+) s"}, answer(b"some s"), None),
        ({"wait": ["body:retry", "header:Retry-After"]}, answer(b"<html>", retry_after="5"), 5),
        ({"wait": "header:Retry-After", "wait_factor": 2}, answer(retry_after="7"), 14),
        ({"wait": "header:Retry-After", "wait_factor": 2, "wait_seconds": 3}, answer(), 3),
        ({"wait": "header:Retry-After", "wait_seconds": 3}, answer(retry_after="0"), 3),
        ({"wait": "header:Retry-After", "wait_seconds": 3}, answer(retry_after="-9"), 3),
        ({"wait": "header:Retry-After", "wait_seconds": 3},
         answer(retry_after="Sat, 22 Nov 2025 03:00:00 GMT"), 3),
        ({"wait": ["header:X-Reset", "header:Retry-After"], "wait_unit": "epoch"},
         answer(x_reset=f"{NOW - 1:.0f}", retry_after=f"{NOW + 5:.0f}"), 5),
        ({"wait": "header:Retry-After"}, answer(retry_after="0"), None),
        ({"wait_until": "midnight UTC"}, answer(), 20 * 3600 + 60),
        ({"wait": "header:Retry-After", "wait_until": "hour"}, answer(retry_after="x"), 3660),
        ({"wait": META_MINUTES, "wait_unit": "minutes"},
         answer(x_business_use_case_usage='{"1": [{"estimated_time_to_regain_access": 3},'
                ' {"estimated_time_to_regain_access": 7}], "2": []}'), 420),
        ({"wait": META_MINUTES}, answer(x_business_use_case_usage="{"), None),
        ({"wait": META_MINUTES}, answer(), None),
        ({"wait": GOOGLE_DELAY}, answer((RECORDED / "google_ads"
          / "error_429_resource_exhausted.json").read_bytes()), 40591),
        ({"wait": GOOGLE_DELAY, "wait_factor": 1.5}, answer((RECORDED / "google_ads"
          / "error_429_resource_exhausted.json").read_bytes()), 60886.5),
    ],
)  # fmt: skip
def test_what_answers_say(rule: dict[str, Any], given: Answer, seconds: float | None) -> None:
    """Every way in which partners say how long."""
    compiled = compile_waiting(WaitRuleSpec.model_validate({"status": 429, **rule}))
    body = Body(given.body, ReportSpec.model_validate(FORM))

    assert compiled.seconds(given, body, NOW) == seconds


FORM = {"get": "https://api.acme.com/", "columns": {"a": "string"}}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("wait = 'text:('", "not a regular expression"),
        ("wait = 'text:(?P<days>1)'", "'days' says no unit"),
        ("wait = 'cookie:x'", "write header:NAME"),
        ("wait_until = 'noon UTC'", 'write "midnight ZONE"'),
        ("wait_until = '25:00 UTC'", 'write "midnight ZONE"'),
        ("wait_until = '03:00 Mars/X'", "unknown time zone"),
        ("wait_until = 'hour', wait_growth = 2", "not with wait_until"),
        ("wait_growth = 2", "wait_seconds: is missing"),
        ("scope = 'galaxy'", "must be one of"),
    ],
)
def test_mistakes(rule: str, wanted: str) -> None:
    """Each is said in words that help."""
    with pytest.raises(ConfigError) as caught:
        partner(f"slow_down = [{{ status = 429, {rule} }}]\n")

    assert wanted in str(caught.value)


def judged(rule: str, given: Answer) -> Verdict:
    made = partner(f"slow_down = [{{ status = 429, {rule} }}]\n")
    return flow(made).judge({}, given, NOW)


def test_what_grows_where_the_partner_is_silent() -> None:
    """The answer's own word counts; without one the file's wait grows."""
    rule = "wait = 'header:Retry-After', wait_seconds = 30, wait_growth = 3, scope = 'call'"

    told = judged(rule, answer(status=429, retry_after="7"))
    silent = judged(rule, answer(status=429))

    assert (told.wait_seconds, told.scope) == (7, "call")
    assert (silent.wait_seconds, silent.growing) == (None, Growing(30, 3, 3600))
    assert [Growing(30, 3, 600).after(times) for times in range(5)] == [30, 90, 270, 600, 600]
