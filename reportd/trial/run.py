"""One request against a partner, as a worker works on it: the same calls, limits and verdicts.

What a worker does with many requests and a ledger is here a plain loop: nothing is stored, and
whoever started it watches. Used by ``reportctl partner``.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from reportd.broker.message import Message
from reportd.clock import Clock
from reportd.errors import ReportdError, UnavailableError
from reportd.limits.limiter import RECORDED, Grant, Limiter, Now
from reportd.model.content import Content
from reportd.model.ledger import answers_of
from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.partner import Partner
from reportd.partners.recording import Send
from reportd.partners.scrubbing import secrets_in_urls
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.credentials import Auth, Credentials
from reportd.transport.exchange import Answer, Call, Failure
from reportd.worker.calling import PartnerCaller, Rules
from reportd.worker.entry import Entry
from reportd.worker.judge import scope_of

TRIES_MOST = 3
"""How often a failed call is made in all: whoever tries a file wants to see what is wrong."""
CLEAR_SECONDS = 1.0
"""How long no call is made at the beginning: another trial may just have ended."""
_TRIED_AGAIN = (Outcome.TRANSIENT, Outcome.EXPIRED, Outcome.FAILED)


class RefusedError(ReportdError):
    """The partner refused the request, or its answer was not understood."""

    def __init__(self, verdict: Verdict) -> None:
        """Take the last verdict."""
        super().__init__(f"{verdict.outcome}: {verdict.reason}")
        self.verdict = verdict


class ImpatientError(UnavailableError):
    """To go on would take longer than whoever tries wants to wait."""


class Watcher(Protocol):
    """Is told what happens; shows no secret."""

    def calling(self, number: int, step: str, call: Call, secrets: Collection[str]) -> None:
        """Take note of a call that is about to be sent; a report of one step has no ``step``."""
        ...

    def judged(self, outcome: Answer | Failure, verdict: Verdict, fitting: Collection[str]) -> None:
        """Take note of its answer; of the rules that fit it the first one decided."""
        ...

    def waiting(self, seconds: float, why: str) -> None:
        """Take note that nothing is done for so long."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a trial needs of the world around it."""

    partner: Partner
    send: Send
    credentials: Credentials
    clock: Clock
    pause: Callable[[float], object]
    """Waits for so many seconds."""
    watcher: Watcher
    patience_seconds: float = 600.0
    """The longest wait that is waited for."""

    def run(self, request: Request) -> list[Content]:
        """Work on a request; return its answers that hold rows.

        Raises `RefusedError`, `ImpatientError`, and `InvalidMessageError` for a request that the
        partner's file does not allow.
        """
        self.partner.check_request(request)
        return _Loop(self, request).run()


@dataclass(slots=True)
class _Loop:
    trial: Trial
    request: Request
    entry: Entry = field(init=False)
    rules: Rules = field(init=False)
    limiter: Limiter = field(init=False)
    tries: int = 0
    throttled: int = 0
    bodies: dict[str, Content] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        rules = self.rules = Rules(self.trial.partner)
        self.entry = Entry(
            message=Message("", 0, 0, None, b""),
            request=self.request,
            replay=0,
            alive=lambda: True,
            scopes=rules.scopes_of(self.request),
        )
        # What is recorded in the ledger is not: a trial reads none, and makes few calls
        limits = [rule for rule in rules.limits if rule.meter not in RECORDED]
        self.limiter = Limiter(limits)
        longest = max((rule.seconds + rule.margin_seconds for rule in limits), default=0.0)
        # Limits begin unused, but for this moment: a day's would keep the first call for a day
        before = max(0.0, longest - CLEAR_SECONDS)
        now = self._now()
        self.limiter.start(Now(now.mono - before, now.wall - before, now.boot - before))

    def run(self) -> list[Content]:
        trial = self.trial
        caller = PartnerCaller(
            {trial.partner.name: trial.partner}, self, trial.credentials, trial.clock.wall
        )
        self._secrets()  # a missing one is said before anything is sent
        while True:
            grant = self._take_turn()
            answer, verdict = caller.call(self.entry)
            self._charged(grant, verdict)
            trial.watcher.judged(answer, verdict, self._fitting(answer))
            if verdict.outcome is Outcome.OK and verdict.next_cursor is None:
                return [*self._kept(), *self._body(answer, verdict)]
            self._follow(answer, verdict)

    def send(self, call: Call) -> Answer | Failure:
        """Send what the caller renders, and let it be seen."""
        self.calls += 1
        step = self._flow().step(self.entry.cursor).name
        self.trial.watcher.calling(self.calls, step, call, self._secrets())
        return self.trial.send(call)

    def _secrets(self) -> Collection[str]:
        """Return what nobody may see of the next call: its credentials, the key in its URL."""
        trial = self.trial
        known = trial.credentials.secrets_of(trial.partner.auth_plan(self.request))
        return (*known, *secrets_in_urls(self.entry.volatile))

    def _charged(self, grant: Grant, verdict: Verdict) -> None:
        """Let limits know what became of a call, and what the partner says of them."""
        if verdict.unsent:
            self.limiter.give_back(grant)
        else:
            is_error = verdict.is_server_error
            self.limiter.answered(grant, is_error=is_error, costs=verdict.costs)
        for pace in verdict.paces:
            self._block(pace.scope, pace.wait_seconds)

    def _follow(self, answer: Answer | Failure, verdict: Verdict) -> None:
        """Do what a verdict asks for before the next call."""
        entry = self.entry
        entry.is_renewed = verdict.is_renewed
        match verdict.outcome:
            case Outcome.AUTH if entry.is_renewed:
                return
            case Outcome.OK | Outcome.TOO_BIG:
                self.tries = self.throttled = 0
                if verdict.outcome is Outcome.TOO_BIG or verdict.is_recorded:
                    self._record(answer, verdict)
                entry.cursor = dict(verdict.next_cursor or {})
                entry.volatile = verdict.volatile
                self._wait(verdict.wait_seconds or 0.0, "before the next step")
            case Outcome.PENDING:
                self.throttled = 0
                entry.cursor = dict(verdict.next_cursor or {})
                self._wait(verdict.wait_seconds or 0.0, "it is not done yet")
            case Outcome.THROTTLED | Outcome.QUOTA:
                self._throttled(verdict)
            case outcome if outcome in _TRIED_AGAIN:
                entry.volatile = {}
                if outcome is Outcome.FAILED:
                    entry.start_over()
                self._try_again(verdict)
            case _:
                raise RefusedError(verdict)

    def _record(self, answer: Answer | Failure, verdict: Verdict) -> None:
        """Keep what a worker would spool and write into the ledger."""
        entry = self.entry
        name = ""
        if verdict.outcome is Outcome.OK:
            for body in self._body(answer, verdict):
                name = f"{len(entry.steps) + 1}"
                self.bodies[name] = body
        entry.steps.append(entry.step_of(verdict, name))
        entry.picked.update(verdict.picked)

    def _kept(self) -> list[Content]:
        return [self.bodies[step.file] for step in answers_of(self.entry.steps)]

    @staticmethod
    def _body(answer: Answer | Failure, verdict: Verdict) -> list[Content]:
        return [] if verdict.empty or isinstance(answer, Failure) else [answer.body]

    def _throttled(self, verdict: Verdict) -> None:
        retry = self.rules.retry
        wait, why = verdict.told_seconds, "as the partner says"
        if wait is None:
            usual = retry.quota if verdict.outcome is Outcome.QUOTA else retry.slow_down
            wait = (verdict.growing or usual).after(self.throttled)
            why = "the partner does not say how long"
        if verdict.unsent:
            why = "then the token server is asked again"
        self.throttled += 1
        if verdict.scope != "call":
            self._block(verdict.scope, wait)
        self._wait(wait, why)

    def _block(self, per: str, seconds: float) -> None:
        self.limiter.block(scope_of(self.entry, per), seconds, self._now())

    def _try_again(self, verdict: Verdict) -> None:
        self.tries += 1
        retry = self.rules.retry
        if self.tries >= min(TRIES_MOST, retry.attempts):
            raise RefusedError(verdict)
        wait = verdict.told_after(self.tries - 1)
        if wait is None:
            wait = min(retry.base_seconds * 2 ** (self.tries - 1), retry.max_seconds)
        self._wait(wait, f"try {self.tries + 1} follows")

    def _take_turn(self) -> Grant:
        """Wait until every limit has room, and take from each."""
        while True:
            now = self._now()
            blocked = self.limiter.blocked(self.entry.scopes, now)
            if blocked is None:
                return self.limiter.take(self.entry.scopes, now)
            scope = blocked.scope.per.partition("#")[0]
            self._wait(blocked.wait_seconds, f"the limit per {scope}")

    def _wait(self, seconds: float, why: str) -> None:
        if seconds <= 0.0:
            return
        if seconds > self.trial.patience_seconds:
            raise ImpatientError(
                f"it would go on in {seconds:.0f} s ({why}), which is longer than the"
                f" {self.trial.patience_seconds:g} s that are waited at most; see --patience"
            )
        self.trial.watcher.waiting(seconds, why)
        self.trial.pause(seconds)

    def _fitting(self, answer: Answer | Failure) -> list[str]:
        """Return every rule that fits an answer: the first one decided."""
        return (
            [] if isinstance(answer, Failure) else self._flow().fitting(self.entry.cursor, answer)
        )

    def _flow(self) -> Flow:
        entry = self.entry
        return Flow(self.trial.partner, self.request, Auth(), entry.picked, entry.volatile)

    def _now(self) -> Now:
        clock = self.trial.clock
        return Now(clock.monotonic(), clock.wall(), clock.boottime())
