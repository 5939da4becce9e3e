"""The peer's limits: every call gets its instant, one after the other (GCRA); asyncio."""

import asyncio
import time

from bench.peer.settings import PeerLimit


class Pacer:
    """One limit of one scope."""

    def __init__(self, limit: PeerLimit) -> None:
        self._interval = limit.seconds / limit.calls
        self._tolerance = (limit.burst - 1) * self._interval
        self._arrival = time.monotonic() + self._interval + self._tolerance

    def wait_seconds(self, now: float) -> float:
        """How long a call that came now would have to wait."""
        return max(0.0, self._arrival - self._tolerance - now)

    def take(self, now: float) -> None:
        """Take the next instant."""
        self._arrival = max(self._arrival, now) + self._interval


class Limits:
    """The partner's limit and each account's; a call takes from both at once."""

    def __init__(self, partner: PeerLimit | None, account: PeerLimit | None) -> None:
        self._partner = Pacer(partner) if partner else None
        self._account_limit = account
        self._accounts: dict[str, Pacer] = {}
        self._blocked_until = 0.0

    async def wait(self, account: str) -> None:
        """Return when a call of this account may leave."""
        pacers = [self._of(account), self._partner]
        while True:
            now = time.monotonic()
            waits = [pacer.wait_seconds(now) for pacer in pacers if pacer]
            wait = max([self._blocked_until - now, *waits], default=0.0)
            if wait <= 0:
                for pacer in pacers:
                    if pacer:
                        pacer.take(now)
                return
            await asyncio.sleep(wait)

    def block(self, seconds: float) -> None:
        """Let everybody wait as the partner said."""
        self._blocked_until = max(self._blocked_until, time.monotonic() + seconds)

    def _of(self, account: str) -> Pacer | None:
        if self._account_limit is None:
            return None
        pacer = self._accounts.get(account)
        if pacer is None:
            pacer = self._accounts[account] = Pacer(self._account_limit)
        return pacer
