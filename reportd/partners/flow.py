"""The flow of one request: which call comes next, and what an answer means.

Deciding only: `Flow` renders calls and judges answers; the worker sends, waits and spools. Pure,
cheap, and of one thread at a time.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from reportd.errors import InvalidMessageError, UnexpectedAnswerError
from reportd.model.request import Request
from reportd.partners.body import Body, BrokenAnswerError
from reportd.partners.partner import Partner, Report, render_call
from reportd.partners.redaction import redacted, redacted_reason
from reportd.partners.rules import Rule, seconds_from
from reportd.partners.verdict import Cursor, Outcome, Verdict
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer, Call, Failure, FailureKind

_FAILURES: Mapping[FailureKind, Outcome] = {
    FailureKind.TOO_LARGE: Outcome.PERMANENT,
    FailureKind.REFUSED: Outcome.PERMANENT,
}
_TAKEN = frozenset({200, 201, 203})
_NOTHING = frozenset({204, 205})
_TRANSIENT = frozenset({202, 206, 408, 425})


class Flow:
    """One request's way through its report."""

    def __init__(self, partner: Partner, request: Request, auth: Auth) -> None:
        """Take a request that `Partner.check_request` let pass."""
        self._partner = partner
        self._request = request
        self._auth = auth
        self._report: Report = partner.reports[request.report]
        self._values = partner.values(request)
        self._last: tuple[Cursor, Call] | None = None

    def call(self, cursor: Cursor) -> Call:
        """Return the call that a cursor asks for; empty: the first one.

        Raises `InvalidMessageError` when the request lacks what a template needs.
        """
        report, pager = self._report, self._report.pager
        call = render_call(
            self._partner,
            report,
            self._values,
            secret_headers=self._auth.headers,
            secret_query=self._auth.query,
        )
        changes: dict[str, Any] = {}
        if "url" in cursor:
            changes["url"] = cursor["url"]
        elif pager is not None and (parameters := pager.parameters(cursor)):
            changes["url"] = _with_query(call.url, parameters)
        if report.json is not None:
            document = report.json(self._values)
            if pager is not None:
                pager.into_json(cursor, document)
            changes["body"] = _json_bytes(document)
            changes["headers"] = {"Content-Type": "application/json", **call.headers}
        call = replace(call, **changes) if changes else call
        self._last = (cursor, call)
        return call

    def judge(self, cursor: Cursor, outcome: Answer | Failure, now_wall: float) -> Verdict:
        """Return what an answer to a cursor's call means: the partner's rules, then the table."""
        if isinstance(outcome, Failure):
            kind = _FAILURES.get(outcome.kind, Outcome.TRANSIENT)
            hint = "; see max_answer_mib" if outcome.kind is FailureKind.TOO_LARGE else ""
            reason = redacted_reason(f"{outcome.kind}: {outcome.detail}{hint}", self._auth.secrets)
            return Verdict(outcome=kind, reason=reason[:500])
        body = Body(outcome.body, self._report.spec)
        for rule in self._partner.rules_for(outcome.status):
            if rule.matches(outcome, body):
                return self._by_rule(rule, outcome, body, now_wall)
        if outcome.status in _TAKEN:
            return self._taken(cursor, outcome, body)
        if outcome.status in _NOTHING:
            return Verdict(outcome=Outcome.OK, empty=True)
        return self._by_status(outcome, body, now_wall)

    def _by_rule(self, rule: Rule, answer: Answer, body: Body, now_wall: float) -> Verdict:
        if rule.outcome is Outcome.OK:
            return Verdict(outcome=Outcome.OK, empty=True, reason=rule.spec.reason)
        return Verdict(
            outcome=rule.outcome,
            reason=f"HTTP {answer.status}: {rule.spec.reason or rule.label}",
            wait_seconds=rule.wait_seconds(answer, body, now_wall),
            scope=rule.scope or self._partner.slowed_by(self._report.name),
            sample=self._sample(body),
        )

    def _taken(self, cursor: Cursor, answer: Answer, body: Body) -> Verdict:
        pager = self._report.pager
        try:
            body.check()
            following = None
            if pager is not None:
                call = self._call_of(cursor)
                if self._report.spec.format != "csv":
                    body.row_count(self._report.rows)
                following = pager.next(cursor, call, answer, body, self._auth.secrets)
        except BrokenAnswerError as error:
            return self._refused(Outcome.TRANSIENT, answer, body, str(error))
        except (UnexpectedAnswerError, InvalidMessageError) as error:
            return self._refused(Outcome.UNEXPECTED, answer, body, str(error))
        return Verdict(outcome=Outcome.OK, next_cursor=following)

    def _call_of(self, cursor: Cursor) -> Call:
        if self._last is not None and self._last[0] == cursor:
            return self._last[1]
        return self.call(cursor)

    def _by_status(self, answer: Answer, body: Body, now_wall: float) -> Verdict:
        status = answer.status
        wait = seconds_from(answer.headers.get("retry-after"), now_wall)
        if status == 429:
            return self._refused(Outcome.THROTTLED, answer, body, "too many requests", wait)
        if status == 401:
            return self._refused(Outcome.AUTH, answer, body, "the credential is refused")
        if status >= 500 or status in _TRANSIENT:
            return self._refused(Outcome.TRANSIENT, answer, body, "no answer yet", wait)
        if 300 <= status < 400:
            return self._refused(Outcome.PERMANENT, answer, body, "a redirect that is not followed")
        if 400 <= status < 500:
            return self._refused(Outcome.PERMANENT, answer, body, "refused")
        return self._refused(Outcome.UNEXPECTED, answer, body, "an unknown status")

    def _refused(
        self,
        outcome: Outcome,
        answer: Answer,
        body: Body,
        why: str,
        wait_seconds: float | None = None,
    ) -> Verdict:
        return Verdict(
            outcome=outcome,
            reason=redacted_reason(f"HTTP {answer.status}: {why}", self._auth.secrets)[:500],
            wait_seconds=wait_seconds,
            scope=self._partner.slowed_by(self._report.name),
            sample=self._sample(body),
        )

    def _sample(self, body: Body) -> bytes:
        return redacted(body.text(), self._auth.secrets)


def _with_query(url: str, parameters: list[tuple[str, str]]) -> str:
    text = urlencode(parameters, quote_via=quote, safe="")
    return f"{url}{'&' if '?' in url else '?'}{text}"


def _json_bytes(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except (TypeError, ValueError):
        raise InvalidMessageError("json: a value that JSON cannot hold") from None
