"""What the engine and the executor need of a partner's file: rules, limits, one call."""

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from reportd.errors import (
    ConfigError,
    CredentialRefusedError,
    InvalidMessageError,
    NotYetError,
    ReportdError,
    UnavailableError,
)
from reportd.limits.limiter import RECORDED, LimitRule, Scope, joined
from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.partner import Partner
from reportd.partners.rule_spec import GrowingSpec
from reportd.partners.spec import LimitSpec
from reportd.partners.verdict import Growing, Outcome, Verdict
from reportd.partners.waits import RESET_MARGIN_SECONDS
from reportd.partners.way import StaleCursorError
from reportd.transport.credentials import Auth, Credentials
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from reportd.worker.entry import Entry
from reportd.worker.partition import RetryRules

_PLAIN_KINDS = ("partner", "credential", "report", "account")

MARGIN_SHARE = 0.02
MARGIN_MOST_SECONDS = 0.25

LATE_SECONDS = 0.25
"""A grant whose token took longer is given back: calls that were granted one after the other would
leave together."""
AWAY_SECONDS = 5.0
"""When to come again where the VM's own folder of tokens does not work."""


class Rules:
    """A partner as the engine sees it: `reportd.worker.partition.PartnerRules`."""

    def __init__(self, partner: Partner, before: Partner | None = None) -> None:
        """Read the limits and the patience off the partner's file.

        ``before``: the partner as workers may still have it that a reload has not replaced yet. Its
        limits are kept, too.
        """
        self._partner = partner
        self._before = before
        self.name = partner.name
        self.limits = _limit_rules(partner)
        kept = partner.spec.limits
        if before is not None:
            self.limits = joined(self.limits, _limit_rules(before))
            kept = (*kept, *before.spec.limits)
        self._kinds = {
            (limit.per, limit.reports): _kind(limit)
            for limit in kept
            if limit.reports or limit.per not in _PLAIN_KINDS
        }
        retry = partner.spec.retry
        self.retry = RetryRules(
            attempts=retry.attempts,
            base_seconds=retry.base_seconds,
            max_seconds=retry.max_seconds,
            hold_seconds=retry.hold_seconds,
            give_up_seconds=retry.give_up_seconds,
            slow_down=_growing(partner.spec.waits.slow_down),
            quota=_growing(partner.spec.waits.quota),
        )

    def check(self, request: Request) -> None:
        """Raise `InvalidMessageError` for what the partner's file does not allow."""
        self._partner.check_request(request)

    def key_of(self, request: Request) -> str:
        """Return the message key that carries the request's limits."""
        return self._partner.key_of(request)

    def scopes_of(self, request: Request) -> tuple[Scope, ...]:
        """Return the scopes of a request, the widest first."""
        scopes = (
            Scope("partner", self.name),
            Scope("credential", request.credential),
            Scope("report", request.report),
            Scope("account", request.account),
        )
        if not self._kinds:
            return scopes
        counted: dict[tuple[str, tuple[str, ...]], str] = {}
        for partner in (self._before, self._partner):
            if partner is not None:  # a message that ends as poison, or is new to one of them
                with suppress(InvalidMessageError):
                    counted |= partner.scopes(request)
        return scopes + tuple(
            Scope(self._kinds[which], value)
            for which, value in counted.items()
            if which in self._kinds
        )


def _growing(spec: GrowingSpec) -> Growing:
    return Growing(spec.first_seconds, spec.growth, spec.most_seconds)


def _kind(limit: LimitSpec) -> str:
    """Return the kind of a limit's scope: its own, where it counts some reports only."""
    return f"{limit.per}#{','.join(limit.reports)}" if limit.reports else limit.per


def _limit_rules(partner: Partner) -> tuple[LimitRule, ...]:
    longest = max(
        step.timeout_seconds for report in partner.reports.values() for step in report.steps
    )
    limits = enumerate(partner.spec.limits)
    return tuple(_limit_rule(limit, number, longest) for number, limit in limits)


def _limit_rule(limit: LimitSpec, number: int, longest_seconds: float) -> LimitRule:
    """Return the limit as reportd keeps it: a bit inside what the partner allows.

    A bucket: half of the partner's burst, the other half absorbs what the network bunches up. A
    sliding window: a margin for what lies between sending here and counting there. A fixed one:
    a margin at its edges, for clocks that differ. Of calls at once, all of them: they are counted
    until their answers are here, which is longer than the partner does. Of a quota: a minute, for
    clocks that differ.
    """
    seconds = limit.window_seconds
    if limit.meter == "concurrent":
        seconds = limit.seconds if "seconds" in limit.model_fields_set else longest_seconds
    return LimitRule(
        per=_kind(limit),
        calls=limit.calls,
        seconds=seconds,
        meter=limit.meter,
        burst=_burst(limit),
        margin_seconds=_margin_seconds(limit, seconds),
        counts=limit.counts,
        cost=limit.cost,
        number=number,
        zone=limit.zone,
        divide=limit.divide,
        least=limit.least,
    )


def _burst(limit: LimitSpec) -> int:
    return max(1, (limit.burst or 1) // 2)


def _margin_seconds(limit: LimitSpec, seconds: float) -> float:
    if limit.margin_seconds:
        return limit.margin_seconds
    if limit.meter in RECORDED:
        return RESET_MARGIN_SECONDS
    return min(seconds * MARGIN_SHARE, MARGIN_MOST_SECONDS)


def slack_seconds(limit: LimitSpec) -> float:
    """Return how late a call that is granted may leave: what is kept inside the limit for that."""
    if limit.meter == "concurrent":
        return math.inf
    if limit.meter == "bucket":
        return ((limit.burst or 1) - _burst(limit)) * limit.seconds / limit.calls
    return _margin_seconds(limit, limit.window_seconds)


class Sender(Protocol):
    """What sends calls: `reportd.transport.client.Client`, or what takes its place."""

    def send(self, call: Call) -> Answer | Failure:
        """Send one call; never raises for trouble on the network."""
        ...


class PartnerCaller:
    """Renders, sends and judges one call of an entry; used by the executor's threads."""

    def __init__(
        self,
        partners: Mapping[str, Partner],
        client: Sender,
        credentials: Credentials,
        wall: Callable[[], float],
    ) -> None:
        """Share the process's client and credentials."""
        self._partners = partners
        self._client = client
        self._credentials = credentials
        self._wall = wall

    def call(self, entry: Entry) -> tuple[Answer | Failure, Verdict]:
        """Make one call; for a 401 secrets are read, or a token is fetched, anew.

        It is not made again here: each call that is sent is charged to its limits.
        """
        partner = self._partners[entry.request.partner]
        try:
            plan = partner.auth_plan(entry.request)
            asked_at = self._wall()
            auth = self._credentials.auth(plan)
            if self._wall() - asked_at > LATE_SECONDS:
                raise NotYetError("its token has just come", 0.0)
            answer, verdict = self._exchange(_flow(partner, entry, auth), entry)
        except StaleCursorError as error:
            return _unsent(str(error)), _refused(Outcome.FAILED, error)
        except InvalidMessageError as error:
            return _unsent(str(error)), _refused(Outcome.PERMANENT, error)
        except (ConfigError, CredentialRefusedError, UnavailableError) as error:
            return _unsent(str(error)), _without_credential(error)
        if verdict.outcome is not Outcome.AUTH or entry.is_renewed:
            return answer, verdict
        try:
            fresh = self._credentials.refresh(plan, auth)
        except (ConfigError, CredentialRefusedError) as error:
            return answer, replace(verdict, reason=f"{verdict.reason}; {error}"[:500])
        except UnavailableError as error:
            return answer, replace(_without_credential(error), unsent=False)
        return answer, replace(verdict, is_renewed=fresh != auth)

    def secrets_of(self, request: Request) -> Collection[str] | None:
        """Return what a request's calls carry that must be seen nowhere; it was called before.

        None: its secrets are not known any more, and their files are not there.
        """
        partner = self._partners[request.partner]
        try:
            return self._credentials.secrets_of(partner.auth_plan(request))
        except ConfigError:
            return None

    def _exchange(self, flow: Flow, entry: Entry) -> tuple[Answer | Failure, Verdict]:
        answer = self._client.send(flow.call(entry.cursor))
        return answer, flow.judge(entry.cursor, answer, self._wall())


def _flow(partner: Partner, entry: Entry, auth: Auth) -> Flow:
    return Flow(partner, entry.request, auth, entry.picked, entry.volatile)


def _refused(outcome: Outcome, error: ReportdError) -> Verdict:
    return Verdict(outcome=outcome, reason=str(error), unsent=True)


def _without_credential(error: ReportdError) -> Verdict:
    """Return what follows where a credential is not there: it waits, or is refused."""
    if not isinstance(error, UnavailableError):
        return Verdict(outcome=Outcome.AUTH, reason=str(error)[:500], unsent=True)
    return Verdict(
        outcome=Outcome.THROTTLED,
        reason=str(error)[:500],
        wait_seconds=error.wait_seconds if isinstance(error, NotYetError) else AWAY_SECONDS,
        scope="credential",
        unsent=True,
    )


def _unsent(detail: str) -> Failure:
    return Failure(kind=FailureKind.REFUSED, detail=detail, seconds=0.0)
