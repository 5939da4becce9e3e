"""What is asked: the partners that the simulator plays, their files, the requests. Plain data."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal

import orjson

from bench.peer.settings import PeerLimit
from reportd.broker.keys import partition_of
from reportd.demo.simulator.config import Latency, Limit, Partner
from reportd.demo.truth import Truth
from reportd.model.request import request_id

TOKEN = "token-of-the-bench"
REPORT = "campaigns"
RUN = "bench/2026-01-01T04:00Z#1"
FIRST_DAY = date(2025, 1, 1)
Format = Literal["csv", "json"]
Meter = Literal["bucket", "fixed", "sliding"]

ACCOUNT_CALLS = 5
PARTNER_CALLS = 100
LIMITED_ACCOUNTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One partner and how it is asked: so many accounts, days each; one file a request."""

    name: str
    format: Format
    rows: int
    """The most rows of an answer; the mean is half of it."""
    accounts: int
    meter: Meter | None = None
    own: Limit | None = None
    """Each account's limit, where there is none by a meter."""
    latency_seconds: float = 0.0
    partitions: int = 1

    def played(self) -> Partner:
        """Return what the simulator plays."""
        return Partner(
            name=self.name,
            format=self.format,
            truth=Truth(seed=5, max_rows_per_day=self.rows, empty_share=0.0),
            latency=Latency(median_seconds=self.latency_seconds),
            headers={"authorization": f"Bearer {TOKEN}"},
            limits=self.limits(),
        )

    def limits(self) -> tuple[Limit, ...]:
        """Return the partner's limits; its buckets hold what it lets through in a second."""
        if self.meter is None:
            return (self.own,) if self.own is not None else ()
        return (
            Limit(per="partner", calls=PARTNER_CALLS, meter=self.meter),
            Limit(per="account", calls=ACCOUNT_CALLS, meter=self.meter),
        )

    def toml(self, port: int) -> str:
        """Return reportd's partner file."""
        host = f"127.0.0.1:{port}"
        url = f"http://{host}/{self.name}/{REPORT}"
        query = "account={{ account.id }}&from={{ from }}&to={{ to }}"
        form = 'format = "csv"' if self.format == "csv" else 'rows = "data[]"'
        return f"""\
hosts = ["{host}"]
allow_private = true
auth = {{ bearer = {{ secret = "bench" }} }}
partitions = {self.partitions}
{self._toml_limits()}
[reports.{REPORT}]
get = "{url}?{query}"
headers = {{ X-Request-Id = "{{{{ request.id }}}}" }}
{form}
day_column = "date"
[reports.{REPORT}.columns]
date = "date"
account = {{ request = "account" }}
campaign_id = "string"
name = "string"
impressions = "int64"
clicks = "int64"
cost = {{ from = "cost_micros", type = "decimal(18,6)", divide = 1_000_000 }}
ctr = "float64"
"""

    def _toml_limits(self) -> str:
        if not self.limits():
            return ""
        lines = []
        for limit in self.limits():
            burst = f", burst = {limit.burst or limit.calls}" if limit.meter == "bucket" else ""
            lines.append(
                f'    {{ per = "{limit.per}", calls = {limit.calls}, seconds = {limit.seconds:g},'
                f' meter = "{limit.meter}"{burst} }},'
            )
        return "\n".join(["limits = [", *lines, "]"])

    def peer_limits(self) -> tuple[PeerLimit | None, PeerLimit | None]:
        """Return the limits as the peer is told them."""
        if self.meter is None:
            return None, None
        return PeerLimit(calls=PARTNER_CALLS), PeerLimit(calls=ACCOUNT_CALLS)

    def requests(self, count: int) -> list[tuple[str, bytes]]:
        """Return so many requests, account and message, in an order of chance (the same one)."""
        found = [_request(self.name, *pair) for pair in self._pairs(count)]
        Random(7).shuffle(found)
        return found

    def paths(self, count: int) -> Iterator[str]:
        """Yield what is asked of the simulator for so many requests."""
        for account, day in self._pairs(count):
            yield f"/{self.name}/{REPORT}?account={account}&from={day}&to={day}"

    def _pairs(self, count: int) -> Iterator[tuple[str, str]]:
        accounts = self._accounts()
        for number in range(count):
            nth, account = divmod(number, len(accounts))
            yield accounts[account], (FIRST_DAY + timedelta(days=nth)).isoformat()

    def _accounts(self) -> list[str]:
        """Name the accounts so that each partition has as many as the others."""
        room = dict.fromkeys(range(self.partitions), -(-self.accounts // self.partitions))
        found: list[str] = []
        number = 0
        while len(found) < self.accounts:
            name = f"account-{number:04d}"
            partition = partition_of(name.encode(), self.partitions)
            if room[partition]:
                room[partition] -= 1
                found.append(name)
            number += 1
        return found


def _request(partner: str, account: str, day: str) -> tuple[str, bytes]:
    message = {
        "v": 1,
        "id": request_id(RUN, partner, REPORT, account, day, day, b"{}"),
        "run": RUN,
        "partner": partner,
        "report": REPORT,
        "account": account,
        "first_day": day,
        "last_day": day,
        "formats": ["parquet"],
        "class": "daily",
    }
    return account, orjson.dumps(message)
