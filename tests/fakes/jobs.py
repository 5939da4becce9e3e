"""Reports that partners make while one waits: created, asked for, fetched at short-lived URLs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Job:
    """One report on its way."""

    number: int
    account: str
    what: Mapping[str, Any]
    """What was asked for, as the partner keeps it."""
    made_at: float
    ready_at: float
    fate: str = "done"
    """What becomes of it: ``done``, or a fault of the fake's own."""
    polls: int = 0


@dataclass(slots=True, kw_only=True)
class Jobs:
    """All reports of one fake."""

    seconds_to_make: float
    url_seconds: float
    """How long a download URL lives."""
    all: list[Job] = field(default_factory=list)
    fates: list[str] = field(default_factory=list)
    """What becomes of the next ones, first in first out; then ``done``."""

    def create(self, account: str, what: Mapping[str, Any], now: float) -> Job:
        """Begin a report."""
        job = Job(
            number=len(self.all),
            account=account,
            what=what,
            made_at=now,
            ready_at=now + self.seconds_to_make,
            fate=self.fates.pop(0) if self.fates else "done",
        )
        self.all.append(job)
        return job

    def running(self, now: float) -> list[Job]:
        """Return those that are still being made."""
        return [job for job in self.all if job.ready_at > now]

    def find(self, fits: Callable[[Job], bool]) -> Job | None:
        """Return the newest that fits."""
        return next((job for job in reversed(self.all) if fits(job)), None)

    def signature(self, job: Job, now: float) -> str:
        """Return what makes a download URL valid: when it ends."""
        return f"{job.number}.{now + self.url_seconds:.3f}"

    def signed(self, signature: str, now: float) -> Job | None:
        """Return the job of a URL; None: it has ended."""
        number, _, until = signature.partition(".")
        return self.all[int(number)] if now <= float(until) else None
