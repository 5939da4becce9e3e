"""How much of each limit is used with 200 accounts whose limits differ; counted by the partner."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any

from bench.arena import Arena, wait_for
from bench.contestants import Reportd
from bench.scene import Role
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Limit
from reportd.demo.simulator.usage import Usage, limit_usage

ACCOUNTS = 50
"""Of each of the partners: 200 in all."""
SETTLE_SECONDS = 12.0
"""A window of the longest limit, and half of one."""
LIMITS = (
    Limit(per="account", calls=1, seconds=8.0, meter="bucket", burst=10),
    Limit(per="account", calls=1, seconds=4.0, meter="bucket", burst=10),
    Limit(per="account", calls=3, seconds=8.0, meter="fixed"),
    Limit(per="account", calls=2, seconds=4.0, meter="fixed"),
)
"""62 calls a second in all: few enough for a busy machine to make them."""


@dataclass(frozen=True, slots=True)
class AccountsUse:
    """What was made of one limit that each of some accounts has."""

    limit: Limit
    accounts: int
    used: Usage
    least: float
    """Of its limit, by the account that used the least."""
    throttled: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        return {
            "limit": asdict(self.limit),
            "accounts": self.accounts,
            "share_used": round(self.used.share, 4),
            "least_share_used": round(self.least, 4),
            "throttled": self.throttled,
        }


def roles() -> tuple[Role, ...]:
    """Return the partners; their answers are small."""
    return tuple(
        Role(
            name=f"own{number}",
            format="json",
            rows=6,
            accounts=ACCOUNTS,
            own=limit,
            latency_seconds=0.05,
            partitions=4,
        )
        for number, limit in enumerate(LIMITS)
    )


def measure(arena: Arena, seconds: float, processes: int, threads: int) -> list[AccountsUse]:
    """Let reportd work on more requests than the limits let through; watch for so long."""
    played = roles()
    since = arena.calls_total()
    ground = arena.ground(*played)
    side = Reportd(arena, ground, processes=processes, threads=threads)
    try:
        side.start()
        for role in played:
            (limit,) = role.limits()
            each = (seconds + 2 * SETTLE_SECONDS) * limit.calls / limit.seconds * 1.5
            arena.produce(ground, role, role.requests(int(each) * role.accounts))
        wait_for("the first calls", lambda: arena.calls_of(played[-1].name) > 0, 30)
        Event().wait(seconds + SETTLE_SECONDS)
        calls = arena.simulator.calls(since)
    finally:
        side.end()
    return list(_counted(played, calls))


def _counted(played: tuple[Role, ...], calls: list[SeenCall]) -> Iterator[AccountsUse]:
    begin = calls[0].at + SETTLE_SECONDS
    for role in played:
        (limit,) = role.limits()
        inside = [call for call in calls if call.partner == role.name and call.at >= begin]
        each = [
            _used(limit, [call for call in inside if call.account == account])
            for account in sorted({call.account for call in inside})
        ]
        yield AccountsUse(
            limit=limit,
            accounts=len(each),
            used=Usage(sum(one.used for one in each), sum(one.allowed for one in each)),
            least=min(one.share for one in each),
            throttled=sum(1 for call in inside if call.fault == "limit"),
        )


def _used(limit: Limit, calls: list[SeenCall]) -> Usage:
    """Return what an account used; of a bucket by what lies between its calls, which is even."""
    if limit.meter != "bucket":
        return limit_usage(limit, calls)
    spans = [call.at for call in calls if call.charged]
    return Usage(len(spans) - 1, (spans[-1] - spans[0]) * limit.calls / limit.seconds)
