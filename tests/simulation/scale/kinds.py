"""The day's partners: how each limits an account, and how its accounts share the work."""

import tomllib
from dataclasses import dataclass

from reportd.demo.simulator.config import Limit
from reportd.model.request import Request
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from reportd.worker.calling import Rules

TOP = 'hosts = ["api.acme.com"]\n'
REPORT = """
[reports.stats]
get = "https://api.acme.com/v2/{{ account.id }}/stats?n={{ params.n }}"
rows = "data[]"
columns = { date = "date", clicks = "int64" }
params = { n = {} }
"""


class TrustingRules(Rules):
    """A partner's limits and keys; every message is as the enqueuer writes it."""

    def check(self, request: Request) -> None:
        """Let it pass: looking at ten million would be half of the work."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One partner."""

    name: str
    limit: Limit
    partitions: int
    accounts: int
    skew: float
    says: str = ""
    """What the file says of the limit, where that is not how it is; calls beyond are refused."""

    def rules(self) -> TrustingRules:
        """Return it as its file says it, margins and all."""
        limit = self.limit
        text = f'per = "account", calls = {limit.calls}, seconds = {limit.seconds}'
        text += f', meter = "{limit.meter}"'
        text += f", burst = {limit.burst}" if limit.burst else ""
        text = self.says or text
        spec = parse_spec(tomllib.loads(f"{TOP}limits = [{{ {text} }}]\n{REPORT}"), self.name)
        return TrustingRules(Partner(self.name, spec))

    def counts(self, requests: int) -> dict[str, int]:
        """Return how many requests each account has: the n-th a share of 1 / n^skew."""
        weights = [1.0 / n**self.skew for n in range(1, self.accounts + 1)]
        return {
            f"{self.name}-{n}": max(1, round(requests * weight / sum(weights)))
            for n, weight in enumerate(weights, 1)
        }


KINDS = (
    Kind("tall", Limit(per="account", calls=60, meter="fixed"), 1, 1, 0.0),
    Kind("wide", Limit(per="account", calls=5, burst=10), 49, 999, 0.8),
)
"""One account has half of the work, 999 the other half, the larger ones most of it."""
