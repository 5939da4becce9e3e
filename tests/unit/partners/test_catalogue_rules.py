"""What the answers of the catalogue's partners mean: every rule of every file decides one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from reportd.partners.flow import Flow
from reportd.partners.partner import Partner
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer
from tests.fakes.driving import CATALOGUE, START, Drive
from tests.fakes.every import FAKES
from tests.fakes.fake import recorded

MIDNIGHT_UTC = 20 * 3600 + 60
MIDNIGHT_PACIFIC = 4 * 3600 + 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One answer, and what it means."""

    rule: str
    """``meta.slow_down.1``: the rule that decides."""
    status: int
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    step: str = ""
    outcome: Outcome
    scope: str = ""
    wait: float | None = None

    @property
    def name(self) -> str:
        """Return the partner's name."""
        return self.rule.partition(".")[0]


def google(quota: str, scope: str, delay: str) -> list[Any]:
    """Return the recorded refusal with another error, as a stream has it."""
    said = recorded("google_ads/error_429_resource_exhausted.json")
    error = said["error"]["details"][0]["errors"][0]
    error["errorCode"] = {"quotaError": quota}
    error["details"]["quotaErrorDetails"] |= {"rateScope": scope, "retryDelay": delay}
    return [said]


def meta(code: int, **more: Any) -> dict[str, Any]:
    """Return the recorded refusal with another code."""
    said = recorded("meta/error_80004.json")
    said["error"] |= {"code": code, "message": "refused", **more}
    return dict(said)


def usage(minutes: int) -> dict[str, str]:
    """Return the recorded header with another wait."""
    found = recorded("meta/header_x_business_use_case_usage.json")
    found["66782684"][0]["estimated_time_to_regain_access"] = minutes
    return {"x-business-use-case-usage": orjson.dumps(found).decode()}


def microsoft(code: int, name: str) -> dict[str, Any]:
    """Return a fault as operation errors have it."""
    return {"OperationErrors": [{"Code": code, "ErrorCode": name, "Message": "refused"}]}


def ga4(message: str) -> dict[str, Any]:
    """Return a refusal for quotas."""
    return {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}}


WAITS, QUOTA, AGAIN = Outcome.THROTTLED, Outcome.QUOTA, Outcome.TRANSIENT
NEVER, TOKEN, BIG = Outcome.PERMANENT, Outcome.AUTH, Outcome.TOO_BIG
CASES = [
    Case(rule="amazon_ads.slow_down.0", status=429, outcome=WAITS, scope="credential", wait=120.0),
    Case(
        rule="amazon_ads.slow_down.0",
        status=429,
        headers={"retry-after": "31"},
        outcome=WAITS,
        scope="credential",
        wait=31.0,
    ),
    Case(rule="amazon_ads.transient.0", status=401, step="poll", outcome=AGAIN),
    Case(rule="amazon_ads", status=401, step="create", outcome=TOKEN),
    Case(
        rule="ga4.slow_down.0",
        status=429,
        body=ga4("Exhausted concurrent requests quota."),
        outcome=WAITS,
        scope="account",
        wait=30.0,
    ),
    Case(
        rule="ga4.quota.0",
        status=429,
        body=ga4("Exhausted property tokens per day."),
        outcome=QUOTA,
        scope="account",
        wait=MIDNIGHT_PACIFIC,
    ),
    Case(
        rule="ga4.quota.1",
        status=429,
        body=ga4("Exhausted property tokens for a project per hour."),
        outcome=QUOTA,
        scope="account",
        wait=1800.0,
    ),
    Case(
        rule="google_ads.quota.0",
        status=429,
        body=recorded("google_ads/error_429_resource_exhausted.json"),
        outcome=QUOTA,
        scope="partner",
        wait=40591.0,
    ),
    Case(
        rule="google_ads.slow_down.0",
        status=429,
        body=google("RESOURCE_TEMPORARILY_EXHAUSTED", "DEVELOPER", "7s"),
        outcome=WAITS,
        scope="partner",
        wait=7.0,
    ),
    Case(
        rule="google_ads.slow_down.1",
        status=429,
        body=google("RESOURCE_TEMPORARILY_EXHAUSTED", "ACCOUNT", "7s"),
        outcome=WAITS,
        scope="account",
        wait=14.0,
    ),
    Case(
        rule="linkedin.slow_down.0",
        status=429,
        body={"message": "More than 45 million metric values were requested"},
        outcome=WAITS,
        scope="partner",
        wait=330.0,
    ),
    Case(
        rule="linkedin.quota.0",
        status=429,
        body={"message": "Resource level throttle limit for calls to this resource is reached."},
        outcome=QUOTA,
        scope="credential",
        wait=MIDNIGHT_UTC,
    ),
    Case(rule="linkedin.permanent.0", status=426, outcome=NEVER),
    Case(rule="linkedin.too_big.0", status=200, body={"elements": [1] * 15_000}, outcome=BIG),
    Case(
        rule="meta.slow_down.0",
        status=400,
        body=meta(4, error_subcode=1504022),
        headers=usage(9),
        outcome=WAITS,
        scope="partner",
        wait=540.0,
    ),
    Case(
        rule="meta.slow_down.1",
        status=400,
        body=recorded("meta/error_80000.json"),
        headers=usage(0),
        outcome=WAITS,
        scope="account",
        wait=300.0,
    ),
    Case(rule="meta.unauthorized.0", status=400, body=meta(190), outcome=TOKEN),
    Case(rule="meta.too_big.0", status=400, body=meta(100, error_subcode=1504018), outcome=BIG),
    Case(
        rule="meta.too_big.1",
        status=500,
        body=meta(1, message="Please reduce the amount of data you're asking for, then retry"),
        step="read",
        outcome=BIG,
    ),
    Case(
        rule="meta.expired.0",
        status=400,
        body=meta(-2, error_subcode=2490547),
        step="poll",
        outcome=Outcome.FAILED,
    ),
    Case(rule="meta.transient.0", status=400, body=meta(99, is_transient=True), outcome=AGAIN),
    Case(rule="meta.transient.0", status=400, body=meta(-3), outcome=AGAIN),
    Case(rule="meta.transient.1", status=200, body=meta(3), step="read", outcome=AGAIN),
    Case(rule="meta", status=403, body=meta(200), outcome=NEVER),
    Case(
        rule="microsoft_ads.slow_down.0",
        status=400,
        body=microsoft(117, "CallRateExceeded"),
        outcome=WAITS,
        scope="credential",
        wait=60.0,
    ),
    Case(
        rule="microsoft_ads.slow_down.1",
        status=400,
        body=microsoft(207, "ConcurrentRequestOverLimit"),
        outcome=WAITS,
        scope="credential",
        wait=60.0,
    ),
    Case(
        rule="microsoft_ads.unauthorized.0",
        status=400,
        body=microsoft(109, "AuthenticationTokenExpired"),
        outcome=TOKEN,
    ),
    Case(
        rule="microsoft_ads.transient.0",
        status=400,
        body=microsoft(0, "InternalError"),
        outcome=AGAIN,
    ),
    Case(rule="microsoft_ads", status=400, body=microsoft(1170, "Another"), outcome=NEVER),
    Case(
        rule="pinterest.slow_down.0",
        status=429,
        body={"code": 8, "message": "Too many requests. Retry after 12 seconds."},
        outcome=WAITS,
        scope="credential",
        wait=12.0,
    ),
    Case(
        rule="tiktok.slow_down.0",
        status=200,
        body={"code": 40100, "message": "App reaches the QPS limit 10"},
        outcome=WAITS,
        scope="partner",
    ),
    Case(
        rule="tiktok.slow_down.1", status=200, body={"code": 40133}, outcome=WAITS, scope="account"
    ),
    Case(rule="tiktok.unauthorized.0", status=200, body={"code": 40105}, outcome=TOKEN),
    Case(rule="tiktok.transient.0", status=200, body={"code": 50002}, outcome=AGAIN),
    Case(rule="tiktok.permanent.0", status=200, body={"code": 40002}, outcome=NEVER),
]


def judged(partner: Partner, case: Case) -> Verdict:
    """Return the verdict on a case's answer."""
    report = next(iter(partner.reports))
    request = Drive(FAKES[partner.name]()).request(report, "1001", "2025-11-16", "2025-11-22")
    flow = Flow(partner, request, Auth(), {"run": "1", "report": "1", "token": "1"})
    body = orjson.dumps(case.body) if case.body else b""
    answer = Answer(status=case.status, headers=dict(case.headers), body=body, seconds=0.1)
    return flow.judge({"step": case.step} if case.step else {}, answer, START)


def first_wait(verdict: Verdict) -> float | None:
    """Return how long is waited the first time."""
    growing = verdict.growing
    return growing.after(0) if growing and verdict.wait_seconds is None else verdict.wait_seconds


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.status}")
def test_an_answer_means_what_the_partner_means(case: Case) -> None:
    """Class, scope and wait are those of the rule's documentation."""
    verdict = judged(Drive(FAKES[case.name]()).partner, case)

    assert verdict.outcome is case.outcome
    if case.scope:
        assert (verdict.scope, first_wait(verdict)) == (case.scope, case.wait)


def without(file: dict[str, Any], rule: str) -> None:
    """Take a rule out of a partner's file."""
    _, kind, number = rule.split(".")
    del file[kind][int(number)]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if "." in case.rule],
    ids=lambda case: f"{case.rule}-{case.status}",
)
def test_it_is_the_rule_that_decides(case: Case) -> None:
    """Without it the same answer means something else, waits otherwise, or says less."""
    whole = judged(Drive(FAKES[case.name]()).partner, case)

    less = judged(
        Drive(FAKES[case.name](), change=lambda file: without(file, case.rule)).partner, case
    )

    assert less != whole


def test_every_rule_has_an_answer() -> None:
    """No rule stands in the catalogue that no case here decides by."""
    kinds = ("slow_down", "quota", "transient", "permanent", "unauthorized", "too_big", "expired")
    rules = {
        f"{name}.{kind}.{number}"
        for name, fake in FAKES.items()
        for kind in kinds
        for number in range(len(getattr(Drive(fake()).partner.spec, kind)))
    }

    assert len(list(CATALOGUE.glob("*.toml"))) == len(FAKES)
    assert {case.rule for case in CASES if "." in case.rule} == rules
