"""Is it this request, or is it everyone? Outages per partner, refusals per credential, evidence.

Used by the engine in the worker's loop, one `Circuits` a partner. Pure; not thread-safe.
"""

from dataclasses import dataclass, field

from reportd.model.request import Request

OUTAGE_FAILURES = 8
"""That many failures in a row, of two accounts or more, are an outage."""

LONE_FAILURES = 16
"""The same where only one account is under way."""

CONDEMNED_SECONDS = 3600.0
"""How long an account that was proven to fail alone is taken to do so."""

PROBE_FIRST_SECONDS = 1.0
PROBE_MOST_SECONDS = 60.0
PROBE_LATE_SECONDS = 30.0
"""So long after its time a probe that has not begun has nobody to make it."""


@dataclass(slots=True)
class Circuit:
    """Open while a scope fails for everyone: only a probe at a time gets through."""

    failures: int = 0
    accounts: set[str] = field(default_factory=set)
    is_open: bool = False
    opened_at: float = 0.0
    probe_at: float = 0.0
    probe_seconds: float = PROBE_FIRST_SECONDS
    probing: bool = False
    reason: str = ""

    def failed(self, account: str, reason: str, now: float) -> None:
        """Count a failure that was not the request's own; may open the circuit."""
        self.failures += 1
        self.reason = reason
        if len(self.accounts) < LONE_FAILURES:
            self.accounts.add(account)
        if self.is_open:
            self.probing = False
            self.probe_seconds = min(2 * self.probe_seconds, PROBE_MOST_SECONDS)
            self.probe_at = now + self.probe_seconds
            return
        enough = OUTAGE_FAILURES if len(self.accounts) > 1 else LONE_FAILURES
        if self.failures >= enough:
            self.open(now)

    def open(self, now: float) -> None:
        """Let nothing but probes through from here on."""
        self.is_open = True
        self.opened_at = now
        self.probe_seconds = PROBE_FIRST_SECONDS
        self.probe_at = now + self.probe_seconds

    def succeeded(self) -> bool:
        """Count a success; True if it closed the circuit."""
        was_open = self.is_open
        self.failures = 0
        self.accounts.clear()
        self.is_open = self.probing = False
        return was_open

    def lets_through(self, now: float) -> bool:
        """Say whether a call may start now."""
        return not self.is_open or (not self.probing and now >= self.probe_at)

    def lacks_probe(self, now: float) -> bool:
        """Say whether it is open and nobody who waits can try it: others must be looked for."""
        return self.is_open and not self.probing and now >= self.probe_at + PROBE_LATE_SECONDS

    def started(self) -> None:
        """Take note of a call that was let through."""
        if self.is_open:
            self.probing = True

    def abandoned(self) -> None:
        """Take note that a probe ended with no word about the partner."""
        self.probing = False


EvidenceKey = tuple[str, str]


def evidence_key(request: Request) -> EvidenceKey:
    """Return what must work for another account before a refusal is the request's own."""
    return (request.credential, request.report)


@dataclass(slots=True)
class Evidence:
    """The last two accounts for which a credential and report worked, and when."""

    last: tuple[str, float] | None = None
    other: tuple[str, float] | None = None
    condemned: dict[str, float] = field(default_factory=dict)
    """Accounts that were proven to fail alone, and when."""

    def succeeded(self, account: str, now: float) -> None:
        """Remember a success."""
        if self.last is not None and self.last[0] != account:
            self.other = self.last
        self.last = (account, now)
        self.condemned.pop(account, None)

    def had_succeeded(self, account: str) -> None:
        """Take note of a success at some time before: of an earlier process, say."""
        if self.last is None:
            self.last = (account, float("-inf"))
        elif self.last[0] != account and self.other is None:
            self.other = (account, float("-inf"))

    def condemn(self, account: str, now: float) -> None:
        """Remember that an account was proven to fail alone: its other requests need no proof."""
        self.condemned[account] = now

    def is_condemned(self, account: str, now: float) -> bool:
        """Say whether that was within the hour, and no request of it has worked since."""
        return now - self.condemned.get(account, float("-inf")) < CONDEMNED_SECONDS

    def since(self, failed_at: float, account: str) -> bool:
        """Say whether another account has succeeded after ``failed_at``."""
        seen = (self.last, self.other)
        return any(one is not None and one[0] != account and one[1] > failed_at for one in seen)

    def before(self, account: str) -> bool:
        """Say whether another account has ever succeeded here."""
        return any(one is not None and one[0] != account for one in (self.last, self.other))


class Circuits:
    """What is known of one partner's health in this worker."""

    def __init__(self) -> None:
        """Begin with everything well."""
        self.outage = Circuit()
        self.credentials: dict[str, Circuit] = {}
        self._evidence: dict[EvidenceKey, Evidence] = {}

    def credential(self, name: str) -> Circuit:
        """Return the circuit of one credential."""
        return self.credentials.setdefault(name, Circuit())

    def evidence(self, request: Request) -> Evidence:
        """Return what is known of the request's credential and report."""
        return self._evidence.setdefault(evidence_key(request), Evidence())

    def lets_through(self, request: Request, now: float) -> bool:
        """Say whether a call of this request may start now."""
        circuit = self.credentials.get(request.credential)
        return self.outage.lets_through(now) and (circuit is None or circuit.lets_through(now))

    def is_refused(self, credential: str) -> bool:
        """Say whether a credential is refused for everyone."""
        circuit = self.credentials.get(credential)
        return circuit is not None and circuit.is_open

    def keeps_away(self, credential: str, now: float) -> bool:
        """Say whether requests of a refused credential may stay in Kafka: others probe it."""
        return self.is_refused(credential) and not self.credentials[credential].lacks_probe(now)

    def opens_at(self, request: Request) -> float:
        """Return when the next probe may start."""
        circuit = self.credentials.get(request.credential)
        times = [c.probe_at for c in (self.outage, circuit) if c is not None and c.is_open]
        return max(times, default=0.0)

    def started(self, request: Request) -> None:
        """Take note of a call."""
        self.outage.started()
        if request.credential in self.credentials:
            self.credentials[request.credential].started()

    def abandoned(self, request: Request) -> None:
        """Take note of a call that ended with no word about the partner."""
        self.outage.abandoned()
        if request.credential in self.credentials:
            self.credentials[request.credential].abandoned()

    def succeeded(self, request: Request, now: float) -> bool:
        """Count a request whose answers were as they should be; True if it ended an outage."""
        self.evidence(request).succeeded(request.account, now)
        return self.answered(request)

    def answered(self, request: Request) -> bool:
        """Count an answer that may still turn out not to parse; True if it ended an outage."""
        closed = self.outage.succeeded()
        circuit = self.credentials.get(request.credential)
        return (circuit is not None and circuit.succeeded()) or closed
