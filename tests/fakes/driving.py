"""A request of a catalogue partner from its first call to its tables, without worker and Kafka.

The real `Flow`, the real limits, the real parser; time is a number, and the network a fake.
"""

import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Protocol

import reportd.partners
from reportd.config.secrets import Secret
from reportd.limits.limiter import Grant, Limiter, Now
from reportd.model.content import whole
from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.load import parse_spec
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.verdict import Cursor, Outcome, Verdict
from reportd.sinks.gathering import table_of
from reportd.transport.credentials import Credentials
from reportd.transport.exchange import Answer, Failure
from reportd.transport.guard import refusal
from reportd.transport.token_request import TokenPlan
from reportd.worker.calling import Rules
from tests.fakes.fake import TOKEN, Asked, Fake, asked_by

CATALOGUE = Path(reportd.partners.__file__).parent / "catalogue"
CALL_SECONDS = 0.1
BACK_OFF_SECONDS = 5.0
SLOW_DOWN_SECONDS = 60.0
MOST_CALLS = 2000
MOST_ATTEMPTS = 25
START = 1_763_870_400.0
"""2025-11-23T04:00:00Z."""

Rows = dict[str, Any]


Change = Callable[[dict[str, Any]], None]


def as_it_is(file: dict[str, Any]) -> None:
    """Change nothing."""
    del file


@lru_cache
def _partner(name: str, change: Change) -> Partner:
    file = tomllib.loads((CATALOGUE / f"{name}.toml").read_text(encoding="utf-8"))
    change(file)
    return Partner(name, parse_spec(file, name))


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


class _Tokens:
    """Gives the access token that every fake takes."""

    def token(self, plan: TokenPlan, refused: str = "") -> str:
        """See `GivesTokens.token`."""
        del plan, refused
        return TOKEN

    def known(self, plan: TokenPlan) -> tuple[str, ...]:
        """See `GivesTokens.known`."""
        del plan
        return (TOKEN,)


@dataclass(slots=True)
class At:
    """Where a request stands, as the worker's entry does."""

    cursor: Cursor = field(default_factory=dict)
    picked: dict[str, Any] = field(default_factory=dict)
    volatile: Mapping[str, Any] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)

    def go_on(self, verdict: Verdict, outcome: Answer | Failure) -> bool:
        """Take a verdict; return whether the request is done."""
        if verdict.outcome is Outcome.TOO_BIG:
            del self.bodies[len(self.bodies) - verdict.dropped :]
        elif verdict.outcome is Outcome.OK:
            assert isinstance(outcome, Answer)
            if not verdict.empty:
                self.bodies.append(whole(outcome.body))
            self.picked |= verdict.picked
            self.volatile = verdict.volatile
        if verdict.next_cursor is None:
            return True
        # no secret, and no URL with a signature, ever stands in what is recorded
        recorded = f"{verdict.next_cursor} {self.picked}".lower()
        assert TOKEN not in recorded
        assert "sig=" not in recorded
        assert "signature=" not in recorded
        self.cursor = verdict.next_cursor
        return False


def on_it_goes(at: At) -> None:
    """Let nothing happen."""
    del at


@dataclass
class Drive:
    """One partner, and all requests that a test makes to it."""

    fake: Fake
    through: Answering | None = None
    change: Change = as_it_is
    """Changes what the partner's file says, for this test alone."""
    between: Callable[[At], None] = on_it_goes
    """What happens to a request between two calls."""
    clock: Clock = field(default_factory=Clock)
    verdicts: list[Verdict] = field(default_factory=list)
    attempts: int = 0
    """Failed calls of all requests."""

    def __post_init__(self) -> None:
        """Load the partner's file."""
        self.partner = _partner(self.fake.name, self.change)
        secrets = {"tiktok-main": TOKEN, "meta-main": TOKEN} | dict(self.fake.secrets)
        self._credentials = Credentials(lambda name: Secret(secrets[name]), _Tokens())
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
        (bodies,) = self.at_once([request])
        tables = to_tables(self.partner, request, bodies, self.clock.now)
        return {day: table_of(rows).to_pylist() for day, rows in tables.items()}

    def wanted(self, report: str, account: str, day: date) -> list[Rows]:
        """Return the rows that a day's file must hold."""
        name = _KNOWN_AS.get((self.fake.name, report), report)
        return [
            {"date": day, **self.fake.wanted(report, account, row)}
            for row in self.fake.truth.rows(self.fake.name, name, account, day)
        ]

    def at_once(self, requests: Iterable[Request]) -> list[list[bytes]]:
        """Run requests side by side, each to its end; return their answers' bodies."""
        going = [(self.clock.now, at, self._bodies(one)) for at, one in enumerate(requests)]
        found: list[list[bytes]] = [[] for _ in going]
        while going:
            when, number, bodies = heappop(going)
            self.clock.now = max(self.clock.now, when)
            try:
                wait = next(bodies)
            except StopIteration as end:
                found[number] = end.value
            else:
                heappush(going, (self.clock.now + wait, number, bodies))
        return found

    def _bodies(self, request: Request) -> Generator[float, None, list[bytes]]:
        """Run a request; yield for how many seconds others have their turn."""
        auth = self._credentials.auth(self.partner.auth_plan(request))
        at = At()
        attempts = surprises = 0
        for _ in range(MOST_CALLS):
            grant = yield from self._granted(request)
            flow = Flow(self.partner, request, auth, at.picked, at.volatile)
            call = flow.call(at.cursor)
            assert not refusal(call.url, call.hosts, allow_private=False), call.url
            outcome = (self.through or self.fake).answer(asked_by(call), self.clock.now)
            yield CALL_SECONDS
            verdict = flow.judge(at.cursor, outcome, self.clock.now)
            self.verdicts.append(verdict)
            is_error = verdict.is_server_error
            self._limiter.answered(grant, is_error=is_error, costs=verdict.costs)
            for pace in verdict.paces:
                self._block(request, pace.scope, pace.wait_seconds)
            at.volatile = {}
            match verdict.outcome:
                case Outcome.OK | Outcome.PENDING | Outcome.TOO_BIG:
                    if at.go_on(verdict, outcome):
                        return at.bodies
                    self.between(at)
                    yield verdict.wait_seconds or 0.0
                case Outcome.THROTTLED | Outcome.QUOTA:
                    self._slow_down(request, verdict)
                case Outcome.TRANSIENT | Outcome.EXPIRED | Outcome.FAILED:
                    attempts += 1
                    self.attempts += 1
                    if attempts > MOST_ATTEMPTS:
                        raise GaveUpError(verdict)
                    yield BACK_OFF_SECONDS
                    if verdict.outcome is Outcome.FAILED:
                        at = At()
                case Outcome.UNEXPECTED if surprises < 2:
                    surprises += 1
                    at = At()
                case _:
                    raise GaveUpError(verdict)
        raise AssertionError("no end")

    def _granted(self, request: Request) -> Generator[float, None, Grant]:
        scopes = self._scopes_of(request)
        while blocked := self._limiter.blocked(scopes, self.clock.three()):
            wait = max(blocked.wait_seconds, 0.001)
            # for ever: until a call that is under way is answered
            yield wait if wait < float("inf") else CALL_SECONDS
            for grant in self._limiter.to_record(self.clock.three()):
                grant.quota.granted(grant.asked)
        return self._limiter.take(scopes, self.clock.three())

    def _slow_down(self, request: Request, verdict: Verdict) -> None:
        wait = SLOW_DOWN_SECONDS if verdict.wait_seconds is None else verdict.wait_seconds
        self._block(request, verdict.scope, wait)

    def _block(self, request: Request, per: str, seconds: float) -> None:
        scopes = {scope.per: scope for scope in self._scopes_of(request)}
        self._limiter.block(scopes[per or "account"], seconds, self.clock.three())


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
