"""A request of a catalogue partner from its first call to its tables, without worker and Kafka.

The real `Flow`, the real limits, the real parser; time is a number, and the network a fake.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import reportd.partners
from reportd.limits.limiter import Limiter, Now, Scope
from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.load import parse_spec
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.verdict import Cursor, Outcome, Verdict
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer, Failure
from reportd.transport.guard import refusal
from reportd.worker.calling import Rules
from tests.fakes.fake import TOKEN, Asked, Fake, asked_by

CATALOGUE = Path(reportd.partners.__file__).parent / "catalogue"
CALL_SECONDS = 0.1
BACK_OFF_SECONDS = 5.0
SLOW_DOWN_SECONDS = 60.0
MOST_CALLS = 2000
START = 1_763_870_400.0
"""2025-11-23T04:00:00Z."""

Rows = dict[str, Any]


class Answering(Protocol):
    """A fake, or what spoils its answers."""

    def answer(self, asked: Asked, now: float) -> Answer | Failure:
        """Answer one call."""
        ...


class GaveUpError(Exception):
    """The request ended without files."""

    def __init__(self, verdict: Verdict) -> None:
        """Take why."""
        super().__init__(f"{verdict.outcome}: {verdict.reason}")
        self.verdict = verdict


@dataclass(slots=True)
class Clock:
    """What time it is, for all requests of a test."""

    now: float = START

    def three(self) -> Now:
        """Return it as deciding code wants it."""
        return Now(self.now - START, self.now, self.now - START)


@dataclass
class Drive:
    """One partner, and all requests that a test makes to it."""

    fake: Fake
    through: Answering | None = None
    secrets: tuple[tuple[str, str], ...] = ()
    """Headers with secrets, beside the bearer's."""
    change: Callable[[dict[str, Any]], None] = lambda _file: None
    """Changes what the partner's file says, for this test alone."""
    clock: Clock = field(default_factory=Clock)
    verdicts: list[Verdict] = field(default_factory=list)
    attempts: int = 0
    """Failed calls of all requests."""

    def __post_init__(self) -> None:
        """Load the partner's file."""
        file = tomllib.loads((CATALOGUE / f"{self.fake.name}.toml").read_text(encoding="utf-8"))
        self.change(file)
        self.partner = Partner(self.fake.name, parse_spec(file, self.fake.name))
        rules = Rules(self.partner)
        self._scopes_of = rules.scopes_of
        self._limiter = Limiter(rules.limits)
        self._limiter.start(self.clock.three())

    def request(self, report: str, account: str, first: str, last: str, **more: Any) -> Request:
        """Return a valid request."""
        return Request.model_validate(
            {
                "v": 1,
                "run": "daily/2025-11-23T04:00Z#1",
                "partner": self.fake.name,
                "report": report,
                "account": account,
                "first_day": first,
                "last_day": last,
                "formats": ["parquet"],
                "timezone": "Europe/Zurich",
                "currency": "CHF",
                "credential": "main",
                "attributes": dict(self.fake.attributes),
                **more,
            }
        )

    def rows(self, report: str, account: str, first: str, last: str) -> dict[date, list[Rows]]:
        """Run a request to its end and return its rows by day; raises `GaveUpError`."""
        request = self.request(report, account, first, last)
        self.partner.check_request(request)
        bodies = self._bodies(request)
        tables = to_tables(self.partner, request, bodies, self.clock.now)
        return {day: table.to_pylist() for day, table in tables.items()}

    def wanted(self, report: str, account: str, day: date) -> list[Rows]:
        """Return the rows that a day's file must hold."""
        name = _KNOWN_AS.get((self.fake.name, report), report)
        return [
            {"date": day, **self.fake.wanted(report, account, row)}
            for row in self.fake.truth.rows(self.fake.name, name, account, day)
        ]

    def _bodies(self, request: Request) -> list[bytes]:
        secret = (("Authorization", f"Bearer {TOKEN}"), *self.secrets)
        flow = Flow(self.partner, request, Auth(headers=secret, secrets=(TOKEN,)))
        cursor: Cursor = {}
        bodies: list[bytes] = []
        attempts = 0
        for _ in range(MOST_CALLS):
            self._wait_for_limits(request)
            call = flow.call(cursor)
            assert not refusal(call.url, call.hosts, allow_private=False), call.url
            outcome = (self.through or self.fake).answer(asked_by(call), self.clock.now)
            self.clock.now += CALL_SECONDS
            verdict = flow.judge(cursor, outcome, self.clock.now)
            self.verdicts.append(verdict)
            if verdict.outcome is Outcome.OK:
                assert isinstance(outcome, Answer)
                bodies.append(b"" if verdict.empty else outcome.body)
                if verdict.next_cursor is None:
                    return bodies
                cursor = verdict.next_cursor
            elif verdict.outcome in {Outcome.THROTTLED, Outcome.QUOTA}:
                self._slow_down(request, verdict)
            elif verdict.outcome is Outcome.TRANSIENT:
                attempts += 1
                self.attempts += 1
                if attempts > self.partner.spec.retry.attempts:
                    raise GaveUpError(verdict)
                self.clock.now += BACK_OFF_SECONDS
            else:
                raise GaveUpError(verdict)
        raise AssertionError("no end")

    def _wait_for_limits(self, request: Request) -> None:
        scopes = self._scopes_of(request)
        while blocked := self._limiter.blocked(scopes, self.clock.three()):
            self.clock.now += max(blocked.wait_seconds, 0.001)
        self._limiter.take(scopes, self.clock.three())

    def _slow_down(self, request: Request, verdict: Verdict) -> None:
        wait = SLOW_DOWN_SECONDS if verdict.wait_seconds is None else verdict.wait_seconds
        scopes = {scope.per: scope for scope in self._scopes_of(request)}
        scope: Scope = scopes[verdict.scope or "account"]
        self._limiter.block(scope, wait, self.clock.three())


_KNOWN_AS = {
    ("tiktok", "campaigns"): "AUCTION_CAMPAIGN",
    ("tiktok", "ads"): "AUCTION_AD",
    ("linkedin", "campaigns"): "CAMPAIGN",
    ("linkedin", "ads"): "CREATIVE",
    ("google_ads", "campaigns"): "campaign",
    ("google_ads", "ads"): "ad_group_ad",
    ("meta", "campaigns"): "campaign",
    ("meta", "ads"): "ad",
    ("microsoft_ads", "campaigns"): "CampaignPerformanceReportRequest",
    ("microsoft_ads", "ads"): "AdPerformanceReportRequest",
    ("amazon_ads", "sp_campaigns"): "spCampaigns",
    ("amazon_ads", "sp_ads"): "spAdvertisedProduct",
    ("pinterest", "campaigns"): "CAMPAIGN",
    ("pinterest", "ads"): "PIN_PROMOTION",
}
"""What the partner calls a report of the catalogue: what its fake asks its truth for."""
