"""What the limiter costs a call, in CPU: 10,000 accounts, no process beside it, no clock."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from reportd.limits.limiter import Limiter, LimitRule, Now, Scope

ACCOUNTS = 10_000
ROUNDS = 15
ROUND_SECONDS = 30.0
"""Of virtual time: by then every account may be called again."""
WIDE = LimitRule(per="credential", calls=1_000_000, seconds=1.0, meter="bucket", burst=1e6)
LIMITS: dict[str, Sequence[LimitRule]] = {
    "bucket": [LimitRule(per="account", calls=5, seconds=1.0, burst=3.0)],
    "fixed": [
        LimitRule(per="account", calls=5, seconds=1.0, meter="fixed", margin_seconds=0.02),
    ],
    "sliding": [
        LimitRule(per="account", calls=5, seconds=1.0, meter="sliding", margin_seconds=0.02),
    ],
    "day": [
        LimitRule(per="account", calls=50_000, seconds=86_400.0, meter="day", margin_seconds=60.0),
    ],
}
LIMITS["sliding, day, wide bucket"] = [*LIMITS["sliding"], *LIMITS["day"], WIDE]


@dataclass(frozen=True, slots=True)
class LimiterCost:
    """What one call costs under some limits."""

    limits: str
    scopes: int
    microseconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        return {**asdict(self), "microseconds": round(self.microseconds, 2)}


def measure() -> list[LimiterCost]:
    """Measure all; the best of some rounds, the neighbours' noise being no cost of ours."""
    return [LimiterCost(name, ACCOUNTS, _cost(rules)) for name, rules in LIMITS.items()]


def _cost(rules: Sequence[LimitRule]) -> float:
    limiter = Limiter(rules)
    limiter.start(_at(0.0))
    calls = [
        (
            Scope("partner", "acme"),
            Scope("credential", "main"),
            Scope("report", "stats"),
            Scope("account", str(number)),
        )
        for number in range(ACCOUNTS)
    ]
    Random(1).shuffle(calls)
    _round(limiter, calls, ROUND_SECONDS)  # makes all meters, and asks for grants
    return min(_round(limiter, calls, ROUND_SECONDS * n) for n in range(2, ROUNDS)) / ACCOUNTS * 1e6


def _round(limiter: Limiter, calls: Sequence[tuple[Scope, ...]], seconds: float) -> float:
    """Grant each account a call, and take its answer; return the CPU seconds."""
    now = _at(seconds)
    granted = 0
    began = time.process_time()
    for scopes in calls:
        if limiter.blocked(scopes, now) is None:
            grant = limiter.take(scopes, now)
            limiter.answered(grant, sent_at=now.mono + 0.001)
            limiter.learn(grant, "ok", now)
            granted += 1
    took = time.process_time() - began
    for wanted in limiter.to_record(now):
        wanted.quota.granted(wanted.asked)
    return took if granted == len(calls) else float("inf")


def _at(seconds: float) -> Now:
    return Now(1e5 + seconds, 1.8e9 + 43_200.5 + seconds, 1e5 + seconds)
