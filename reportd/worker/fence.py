"""How long a worker may go on believing that its partitions are its own.

The loop moves it, executor and finishing threads ask it: one float, written by one thread.
"""

SAFETY_SECONDS = 2.0


class Fence:
    """Open until the send time of the last accepted commit + session timeout - heartbeat - 2 s.

    Times are CLOCK_BOOTTIME: a VM that was suspended, or a process that was stopped, wakes up and
    finds it closed. The new owner starts only after it, for the broker waits a whole session.
    """

    def __init__(self, session_timeout_seconds: float, heartbeat_seconds: float) -> None:
        """Begin closed: nothing is ours before a commit was accepted."""
        lease = session_timeout_seconds - heartbeat_seconds - SAFETY_SECONDS
        if lease <= 0:
            raise ValueError("session timeout must exceed the heartbeat by more than 2 s")
        self.lease_seconds = lease
        self.closes_at = float("-inf")
        self._accepted_at: float | None = None

    def commit_accepted(self, sent_at: float) -> None:
        """Move the fence: the broker took a commit that was sent at ``sent_at`` (boottime)."""
        self.closes_at = max(self.closes_at, sent_at + self.lease_seconds)
        self._accepted_at = max(self._accepted_at or sent_at, sent_at)

    def commit_age_seconds(self, boot: float) -> float | None:
        """Return how long ago the last accepted commit was sent; None: there was none."""
        return None if self._accepted_at is None else boot - self._accepted_at

    def close(self) -> None:
        """Close at once: the membership is lost."""
        self.closes_at = float("-inf")

    def is_open(self, boot: float) -> bool:
        """Say whether calls may start and files may be published now."""
        return boot < self.closes_at
