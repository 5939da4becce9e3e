"""The numbers a worker's engine is run with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One worker's bounds and intervals; times in seconds."""

    threads: int = 16
    """Calls under way at once."""
    window_requests: int = 5_000
    """Requests in memory; beyond, messages stay in Kafka."""
    window_bytes: int = 64 * 1024 * 1024
    """The same in bytes of messages."""
    parked_most: int = 200_000
    """Stretches of neighbouring offsets of one account that are known to be open with their
    messages forgotten, a partition; beyond, reading ahead of a blocked account stops."""
    ahead_most: int = 500_000
    """Offsets beyond the commit, a partition; beyond, reading ahead stops, too: every new owner
    reads them again."""
    finishing_most: int = 32
    """Answers waiting for the finishing thread; beyond, no call starts."""
    commit_seconds: float = 1.0
    commit_all_seconds: float = 10.0
    commit_timeout_seconds: float = 15.0
    """A commit that nobody answered for so long is sent again."""
    grant_seconds: float = 1.0
    """A grant that was not sent within this time is given back."""
    stall_first_seconds: float = 0.5
    stall_most_seconds: float = 15.0
    alone_seconds: float = 5.0
    """How long suspects of a crash may have the worker for themselves in one go."""
    store_id: str = ""
