"""A limit that moves: additive increase, multiplicative decrease, between two bounds. Pure.

Some partners refuse calls although the stated limit is kept: it depends on their load, or on what
others do with the same app. What a refusal says is that the rate was too high just now; what a
good answer says is that it was not. (AIMD: Chiu and Jain, 1989.)
"""

from reportd.limits.meters import Bucket

DECREASE = 0.92
"""What is left of the rate after a refusal: near enough to come back soon."""
INCREASE_A_SECOND = 0.0025
"""Of the rate at the last refusal, while calls wait for the limit and succeed: a refusal in half a
minute."""
SEARCH_A_SECOND = 0.05
"""Of the rate, until the first refusal: from a tenth to the whole limit in three quarters of a
minute."""
CREDIT_SECONDS = 1.0
"""No success speaks for a longer time before it."""


class MovingBucket(Bucket):
    """A bucket whose rate goes from ``least`` to ``calls`` per ``seconds``, as answers say.

    It begins at the least, as a new owner does not know more: so its start is safe, too.
    """

    def __init__(
        self, calls: float, least: float, seconds: float, burst: float, now: float
    ) -> None:
        """Start at the least, with the whole burst spent."""
        super().__init__(least, seconds, burst, now)
        self._burst = max(burst, 1.0)
        self._most = calls / seconds
        self._least = least / seconds
        self._rate = self._least
        self._step = 0.0
        self._searches = True
        self._decreased_at = float("-inf")
        self._heard_at = now
        self._is_wanted = False

    @property
    def rate(self) -> float:
        """Calls a second that it allows now."""
        return self._rate

    def wait_seconds(self, now: float, cost: float = 1.0) -> float:
        """See `Bucket.wait_seconds`; that somebody waited shows that more is wanted."""
        wait = super().wait_seconds(now, cost)
        self._is_wanted = self._is_wanted or wait > 0.0
        return wait

    def succeeded(self, now: float) -> None:
        """Take a good answer: go a bit faster, if calls have waited for the limit."""
        credit = min(now - self._heard_at, CREDIT_SECONDS)
        self._heard_at = now
        if not self._is_wanted or credit <= 0.0:
            return
        self._is_wanted = False
        step = SEARCH_A_SECOND * self._rate if self._searches else self._step
        self._set(min(self._most, self._rate + step * credit))

    def refused(self, now: float, taken_at: float) -> None:
        """Take a refusal of a call that was granted at ``taken_at``: go slower, once for all.

        Calls that were granted before the last decrease say nothing new.
        """
        self._heard_at = now
        self._searches = False
        if taken_at > self._decreased_at:
            self._decreased_at = now
            self._set(max(self._least, self._rate * DECREASE))
            self._step = INCREASE_A_SECOND * self._rate

    def failed(self, now: float) -> None:
        """Take an answer that says nothing of the limit: the time until it speaks for no more."""
        self._heard_at = now

    def _set(self, rate: float) -> None:
        self._rate = rate
        self._interval_seconds = 1.0 / rate
        self._tolerance_seconds = (self._burst - 1.0) * self._interval_seconds
