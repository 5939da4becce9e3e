"""What all fakes have in common: they know rows, count calls, and answer at a given time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import orjson

from reportd.demo.simulator.config import Limit
from reportd.demo.simulator.meters import Gate
from reportd.demo.truth import Row, Truth
from reportd.transport.exchange import Answer, Call

RECORDED = Path(__file__).parents[1] / "data" / "recorded"
TOKEN = "access-token-0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call as a partner sees it."""

    method: str
    url: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return orjson.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        """Return the body as a form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True))


def asked_by(call: Call) -> Asked:
    """Return what a partner sees of a call, secrets included."""
    parts = urlsplit(call.url)
    headers = {name.lower(): value for name, value in call.headers.items()}
    headers |= {name.lower(): value for name, value in call.secret_headers}
    return Asked(
        method=call.method,
        url=call.url,
        host=parts.hostname or "",
        path=parts.path,
        query=dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(call.secret_query),
        headers=headers,
        body=call.body or b"",
    )


@dataclass(frozen=True, slots=True)
class Known:
    """An account, as its partner lists it."""

    account: str
    timezone: str
    currency: str
    name: str


KNOWN = (
    Known("1001", "Europe/Zurich", "CHF", "One"),
    Known("1002", "America/New_York", "USD", "Two"),
    Known("1003", "Asia/Tokyo", "JPY", "Three"),
)
"""What a credential can see."""


class RefusedError(Exception):
    """The partner says no: raised anywhere in a fake, answered as it is."""

    def __init__(self, answer: Answer) -> None:
        """Take the answer."""
        super().__init__(answer.status)
        self.answer = answer


class Fake(ABC):
    """One partner."""

    name: ClassVar[str]
    attributes: ClassVar[Mapping[str, str]] = {}
    """What the accounts table has to say beyond the account."""
    secrets: ClassVar[Mapping[str, str]] = {}
    """Secrets that it knows, by the names of their files."""
    limits: ClassVar[tuple[Limit, ...]] = ()
    """What it allows; more is answered by `slow_down`."""

    def __init__(self, truth: Truth | None = None) -> None:
        """Know the rows of ``truth``."""
        self.truth = truth or Truth(seed=7, max_rows_per_day=4)
        self.gone: set[str] = set()
        """Accounts that there are not."""
        self.calls: list[Asked] = []
        self.too_many = 0
        """Calls that came although a limit was reached."""
        self._gate = Gate(self.limits, 0.0)

    def answer(self, asked: Asked, now: float) -> Answer:
        """Answer one call at ``now`` (epoch seconds)."""
        self.calls.append(asked)
        scopes = {"partner": "", "account": self.account_of(asked), "credential": TOKEN}
        if self._gate.admit(scopes, now):
            self.too_many += 1
            return self.slow_down(now)
        try:
            return self.play(asked, now)
        except RefusedError as refused:
            return refused.answer

    @abstractmethod
    def play(self, asked: Asked, now: float) -> Answer:
        """Answer a call that no limit stops; may raise `RefusedError`."""

    @abstractmethod
    def slow_down(self, now: float) -> Answer:
        """Return how it says that it was asked too often."""

    @abstractmethod
    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """Return a row as a final file of the catalogue has to hold it."""

    def account_of(self, asked: Asked) -> str:
        """Return whom a call is about, for limits by account."""
        del asked
        return ""

    def rows(self, report: str, account: str, first: str, last: str) -> list[Row]:
        """Return what it knows of an account's days."""
        start, end = date.fromisoformat(first), date.fromisoformat(last)
        days = (start + timedelta(days=number) for number in range((end - start).days + 1))
        return [row for day in days for row in self.truth.rows(self.name, report, account, day)]

    def count(self, part: str) -> int:
        """Return how many calls had ``part`` in their URL."""
        return sum(part in asked.url for asked in self.calls)


def answer(status: int, body: bytes, **headers: str) -> Answer:
    """Return a whole answer; underscores in headers' names are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=body, seconds=0.1)


def answer_json(status: int, document: object, **headers: str) -> Answer:
    """Return a whole answer with a JSON body."""
    return answer(status, orjson.dumps(document), **{"content_type": "application/json", **headers})


def recorded(path: str) -> Any:
    """Return a recorded JSON answer."""
    return orjson.loads((RECORDED / path).read_bytes())


def conversions_of(row: Row) -> int:
    """Return how many conversions a row stands for."""
    return row.clicks // 10
