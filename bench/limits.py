"""How much of a limit is used, and how often it is overstepped: 100/s, and 5/s an account.

Counted where the partner counts. While there is demand: from two seconds after the first call
until a second before the last one asked something new.
"""

from dataclasses import dataclass
from threading import Event
from typing import Any

from bench.arena import Arena, wait_for
from bench.contestants import Contestant
from bench.scene import LIMITED_ACCOUNTS, PARTNER_CALLS, Meter, Role
from bench.throughput import Make
from reportd.demo.simulator.book import SeenCall

SETTLE_SECONDS = 2.0
METERS: tuple[Meter, ...] = ("bucket", "fixed", "sliding")


@dataclass(frozen=True, slots=True)
class LimitUse:
    """What one side made of one limit."""

    label: str
    meter: Meter
    seconds: float
    calls: int
    good: int
    """Calls that were let in and answered."""
    throttled: int

    @property
    def share(self) -> float:
        """Good answers, of those that the limit would have let in."""
        return self.good / (PARTNER_CALLS * self.seconds)

    @property
    def throttled_share(self) -> float:
        """Which part of the calls was refused."""
        return self.throttled / self.calls if self.calls else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        return {
            "label": self.label,
            "meter": self.meter,
            "seconds": round(self.seconds, 2),
            "calls": self.calls,
            "throttled": self.throttled,
            "share_used": round(self.share, 4),
            "throttled_share": round(self.throttled_share, 5),
        }


def limited(meter: Meter) -> Role:
    """Return the partner that counts this way; its answers are small."""
    return Role(
        name=meter,
        format="json",
        rows=6,
        accounts=LIMITED_ACCOUNTS,
        meter=meter,
        latency_seconds=0.05,
    )


def measure(arena: Arena, role: Role, seconds: float, make: Make, label: str) -> LimitUse:
    """Let one side work on more requests than the limit lets through; watch for so long."""
    assert role.meter is not None
    since = arena.calls_total()
    ground = arena.ground(role)
    side: Contestant = make(arena, ground)
    try:
        side.start()
        count = int(PARTNER_CALLS * (seconds + 4 * SETTLE_SECONDS) * 1.2)
        arena.produce(ground, role, role.requests(count))
        wait_for("the first calls", lambda: arena.calls_of(role.name) > 0, 30)
        Event().wait(seconds + 2 * SETTLE_SECONDS)
        calls = arena.simulator.calls(since)
    finally:
        side.end()
    return counted(calls, label, role.meter)


def counted(calls: list[SeenCall], label: str, meter: Meter) -> LimitUse:
    """Count the calls of the steady state, in whole seconds of the partner's wall clock."""
    first, last = calls[0].wall + SETTLE_SECONDS, calls[-1].wall - 1.0
    begin, end = float(int(first) + 1), float(int(last))
    inside = [call for call in calls if begin <= call.wall < end]
    return LimitUse(
        label=label,
        meter=meter,
        seconds=end - begin,
        calls=len(inside),
        good=sum(1 for call in inside if call.charged and call.status == 200),
        throttled=sum(1 for call in inside if call.fault == "limit"),
    )
