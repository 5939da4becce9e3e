"""What follows from an answer's verdict: wait, back off, hold, or end as a dead letter.

Used by the engine in the worker's loop. Decides; changes entries and partitions; does no I/O.
"""

from random import Random

from reportd.limits.limiter import Now, Scope
from reportd.partners.verdict import Growing, Outcome, Verdict
from reportd.worker.entry import Entry, State
from reportd.worker.partition import Partition

IN_A_ROW_MOST = 30

UNEXPECTED_TRIES = 3
LAST_HOLDS = 10
"""The last open request of a credential and report that worked before is held for so many times
``hold_seconds``: nobody is left to show whether it is alone."""

PROOFS = {"permanent": 2, "auth": 2}
"""How often a request must be refused again after others' successes: once may be an outage that
has just begun. Transient and unexpected ones have failed several times by then."""

MOVES_MOST = 3
"""So many refusals in a row that name no time only slow a limit that moves down; then all wait."""

HOLD_TRIES = 3
"""A held request is refused that often before missing evidence can count against it."""


class DeadError(Exception):
    """The request is given up: the class of its error, and why."""

    def __init__(self, error: str, reason: str) -> None:
        """Say both."""
        super().__init__(error, reason)
        self.error = error
        self.reason = reason


class Judge:
    """Applies the table "What can go wrong" of the design."""

    def __init__(self, random: Random) -> None:
        """Take the source of jitter."""
        self._random = random

    def started(self, partition: Partition, entry: Entry) -> None:
        """Note, as a call starts, whether others have succeeded since the request first failed.

        What happens while the call is under way proves nothing: an outage may end meanwhile.
        """
        entry.is_proof = self.is_alone(partition, entry)

    def refused(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        """Let the entry wait for what its refusal asks; raises `DeadError` when it is given up."""
        entry.sample = verdict.sample
        entry.answer = ""
        match verdict.outcome:
            case Outcome.THROTTLED:
                self._throttled(partition, entry, verdict, now)
            case Outcome.QUOTA:
                self._quota(partition, entry, verdict, now)
            case Outcome.TRANSIENT:
                self._transient(partition, entry, verdict, now)
            case Outcome.AUTH:
                self._auth(partition, entry, verdict, now)
            case Outcome.PERMANENT:
                partition.circuits.abandoned(entry.request)
                self.hold(partition, entry, "permanent", verdict.reason, now)
            case Outcome.UNEXPECTED:
                self.unexpected(partition, entry, verdict.reason, now)
            case Outcome.EXPIRED:
                self._expired(partition, entry, verdict, now)
            case Outcome.FAILED:
                self._failed(partition, entry, verdict, now)
            case Outcome.OK | Outcome.PENDING | Outcome.TOO_BIG:
                raise ValueError(f"{verdict.outcome} is no refusal")

    def unexpected(self, partition: Partition, entry: Entry, reason: str, now: Now) -> None:
        """Start over an answer that does not parse; twice, then as permanent."""
        partition.circuits.abandoned(entry.request)
        entry.unexpected += 1
        if entry.unexpected >= UNEXPECTED_TRIES:
            self.hold(partition, entry, "unexpected", reason, now)
            return
        self._back_off(partition, entry, entry.unexpected, now)

    def hold(self, partition: Partition, entry: Entry, error: str, reason: str, now: Now) -> None:
        """Keep a request that seems impossible until it is known to be alone with that.

        Raises `DeadError` when it has failed again (see `PROOFS`) although another account of
        the same credential and report had succeeded in between; or when it was refused for so
        long that nobody is waited for any more.
        """
        if entry.first_failed_at is None or entry.failing != error:
            self._first_failed(entry, error, now)
        entry.holds += 1
        entry.refusal = f"{error}: {reason}"
        retry = partition.rules.retry
        evidence = partition.circuits.evidence(entry.request)
        account = entry.request.account
        if error == "permanent" and evidence.is_condemned(account, now.mono):
            raise DeadError(error, reason)
        if entry.is_proof:
            entry.proofs += 1
            if entry.proofs >= PROOFS.get(error, 1):
                if error == "permanent":
                    evidence.condemn(account, now.mono)
                raise DeadError(error, reason)
            self._first_failed(entry, error, now)
        if entry.holds >= HOLD_TRIES and not self._is_a_credentials(partition, entry):
            patience = retry.give_up_seconds
            if evidence.before(account) and self._is_last(partition, entry):
                patience = min(LAST_HOLDS * retry.hold_seconds, patience)
            # of whatever kind they were: two that take turns would be held for ever
            if now.mono - (entry.failing_since or 0.0) >= patience:
                raise DeadError(error, f"{reason} (for {patience:.0f} s or more)")
        wait = min(retry.hold_seconds * 2 ** min(entry.holds - 1, 16), retry.max_seconds)
        partition.scheduler.add_later(entry, State.HELD, now.mono + self._jitter(wait))

    def pending(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        """Let the entry wait for what is not done yet, or for its next step; no attempt."""
        share = self._random.uniform(1.0 - verdict.jitter, 1.0 + verdict.jitter)
        wait = (verdict.wait_seconds or 0.0) * share
        partition.scheduler.add_later(entry, State.PENDING, now.mono + wait)

    def is_alone(self, partition: Partition, entry: Entry) -> bool:
        """Say whether a held request's failure is its own, as far as others show: try it again."""
        if entry.first_failed_at is None:
            return False
        evidence = partition.circuits.evidence(entry.request)
        return evidence.since(entry.first_failed_at, entry.request.account)

    def _throttled(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        partition.circuits.abandoned(entry.request)
        if verdict.unsent:  # the partner has said nothing
            wait = verdict.wait_seconds or 0.0
            partition.limiter.block(scope_of(entry, verdict.scope), wait, now)
        else:
            wait = self._waits(partition, entry, verdict, partition.rules.retry.slow_down, now)
        partition.scheduler.add_later(entry, State.LIMIT, now.mono + wait)

    def _quota(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        partition.circuits.abandoned(entry.request)
        wait = self._waits(partition, entry, verdict, partition.rules.retry.quota, now)
        partition.scheduler.add_later(entry, State.QUOTA, now.mono + wait)

    @staticmethod
    def _waits(
        partition: Partition, entry: Entry, verdict: Verdict, usual: Growing, now: Now
    ) -> float:
        """Let a refusal's scope wait as told, else the longer the oftener it was; return it."""
        times = entry.told_to_wait
        entry.told_to_wait = min(times + 1, IN_A_ROW_MOST)
        scope = None if verdict.scope == "call" else scope_of(entry, verdict.scope)
        if scope is not None:
            times = partition.throttled_times.get(scope, 0)
            partition.throttled_times[scope] = min(times + 1, IN_A_ROW_MOST)
        wait = verdict.told_seconds
        if wait is None:
            wait = (verdict.growing or usual).after(times)
            if scope is not None and times < MOVES_MOST and partition.limiter.moves(scope):
                wait = 0.0  # it goes slower from here on
        if scope is not None:
            is_quota = verdict.outcome is Outcome.QUOTA
            partition.limiter.block(scope, wait, now, is_quota=is_quota)
        return wait

    def _transient(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        outage = partition.circuits.outage
        partition.circuits.abandoned(entry.request)  # a credential's probe: it says nothing
        outage.failed(entry.request.account, verdict.reason, now.mono)
        if outage.is_open:
            entry.attempts = 0
            entry.first_failed_at = None
            if len(outage.accounts) > 1:  # else it may be this account that fails, not all
                entry.failing_since = None
            self._back_off(partition, entry, 1, now, verdict.told_after(0))
            return
        entry.attempts += 1
        if entry.attempts == 1 and not entry.holds:
            self._first_failed(entry, "transient", now)
        if entry.attempts >= partition.rules.retry.attempts:
            entry.attempts = 0
            self.hold(partition, entry, "transient", verdict.reason, now)
            return
        told = verdict.told_after(entry.attempts - 1)
        self._back_off(partition, entry, entry.attempts, now, told)

    def _auth(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        circuits = partition.circuits
        circuits.outage.abandoned()
        circuit = circuits.credential(entry.request.credential)
        circuit.failed(entry.request.account, verdict.reason, now.mono)
        if verdict.unsent and not circuit.is_open:  # it is certain: no account gets through
            circuit.open(now.mono)
        self.hold(partition, entry, "auth", verdict.reason, now)

    def _expired(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        """Ask for a fresh URL; one that never works is an attempt each time."""
        partition.circuits.abandoned(entry.request)
        entry.attempts += 1
        if entry.attempts >= partition.rules.retry.attempts:
            entry.attempts = 0
            self.hold(partition, entry, "expired", verdict.reason, now)
            return
        self._back_off(partition, entry, entry.attempts, now)

    def _failed(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        """Start over; good answers in between do not count: each try begins with some."""
        partition.circuits.abandoned(entry.request)
        entry.restarts += 1
        if entry.restarts >= partition.rules.retry.attempts:
            self.hold(partition, entry, "failed", verdict.reason, now)
            return
        self._back_off(partition, entry, entry.restarts, now)

    @staticmethod
    def _first_failed(entry: Entry, error: str, now: Now) -> None:
        """Begin to look for others' successes: the call that has just failed is no proof."""
        entry.failing = error
        entry.first_failed_at = now.mono
        entry.is_proof = False
        if entry.failing_since is None:
            entry.failing_since = now.mono

    def _back_off(
        self,
        partition: Partition,
        entry: Entry,
        times: int,
        now: Now,
        told_seconds: float | None = None,
    ) -> None:
        retry = partition.rules.retry
        most = min(retry.base_seconds * 2 ** (times - 1), retry.max_seconds)
        wait = self._random.uniform(0.0, most) if told_seconds is None else told_seconds
        partition.scheduler.add_later(entry, State.BACKOFF, now.mono + wait)

    def _jitter(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.75, 1.0)

    @staticmethod
    def _is_a_credentials(partition: Partition, entry: Entry) -> bool:
        """Say whether a whole credential is refused: no request of it is given up for that."""
        circuit = partition.circuits.credential(entry.request.credential)
        return entry.failing == "auth" and circuit.is_open

    def _is_last(self, partition: Partition, entry: Entry) -> bool:
        """Say whether no other account is open that could still show that it is alone."""
        if any(book.parked_count for book in partition.books.values()):
            return False
        request = entry.request
        return not any(
            other.request.report == request.report
            and other.request.credential == request.credential
            and other.request.account != request.account
            for other in partition.entries.values()
        )


def scope_of(entry: Entry, per: str) -> Scope:
    """Return the entry's scope of that kind; its account where there is none."""
    for scope in entry.scopes:
        if scope.per == per:
            return scope
    return Scope("account", entry.request.account)
