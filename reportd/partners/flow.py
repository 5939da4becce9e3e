"""The flow of one request: which call comes next, and what an answer means.

Deciding only: `Flow` renders calls and judges answers; the worker sends, waits and spools. Pure,
cheap, and of one thread at a time. Steps, parts and polls: docs/design/flows.rst.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import orjson

from reportd.errors import InvalidMessageError, NoRoomError, UnexpectedAnswerError
from reportd.model.request import Request
from reportd.partners import redirects
from reportd.partners.body import Body, BrokenAnswerError
from reportd.partners.partner import Partner, Report, render_call
from reportd.partners.picking import PickError
from reportd.partners.picks import Source, check_recordable, picked_from
from reportd.partners.redaction import redacted, redacted_reason
from reportd.partners.rules import Rule
from reportd.partners.steps import POLL_LEAST_SECONDS, Poll, State, Step
from reportd.partners.templates import Values
from reportd.partners.usage import cost_of, paces
from reportd.partners.verdict import Cursor, Outcome, Verdict
from reportd.partners.waits import seconds_from
from reportd.partners.way import StaleCursorError, Way
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from reportd.transport.guard import refusal

_FAILURES: Mapping[FailureKind, Outcome] = {
    FailureKind.TOO_LARGE: Outcome.PERMANENT,
    FailureKind.REFUSED: Outcome.PERMANENT,
}
_TAKEN = frozenset({200, 201, 203})
_ACCEPTED = frozenset({*_TAKEN, 202})
_NOTHING = frozenset({204, 205})
_TRANSIENT = frozenset({202, 206, 408, 425})
_URL_GONE = frozenset({401, 403, 404, 410})
"""What a URL that was picked answers when its time is over."""
_UNAUTHORIZED = frozenset({401, 403})
_LED_AWAY = "refused without the credential, where the partner has led"
_NEVER_FOUND, _GONE = 404, 410
_NOT_THERE = frozenset({_NEVER_FOUND, _GONE})
"""What a step answers when what an earlier one made is not there, yet or any more."""
_MADE_OVER: frozenset[State] = frozenset({"failed", "cancelled", "expired"})
_MAX_URL_CHARS = 8192
NO_ROOM_SECONDS = 30.0
"""When an answer is asked for again that this machine had no room for."""
_SECRET_CHARS = 8
_ANY_URL = re.compile(r"https?:(?:\\?/){2}[^\s\"'<>]+")


class Flow:
    """One request's way through its report."""

    def __init__(
        self,
        partner: Partner,
        request: Request,
        auth: Auth,
        picked: Mapping[str, Any] | None = None,
        volatile: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a request that `Partner.check_request` let pass, and what its steps have picked.

        ``volatile``: the last verdict's, if the next call is made at once.
        """
        self._partner = partner
        self._request = request
        self._auth = auth
        self._report: Report = partner.reports[request.report]
        split = self._report.spec.split
        values = len(split.values) if split else 0
        self._way = Way(self._report.steps, request, values, self._report.mark)
        self._values = partner.values(request)
        self._picked = picked or {}
        self._volatile = volatile or {}
        self._secrets = (*auth.secrets, *_secret_texts(volatile)) if volatile else auth.secrets
        self._last: tuple[Cursor, Call] | None = None

    def call(self, cursor: Cursor) -> Call:
        """Return the call that a cursor asks for; empty: the first one.

        Raises `InvalidMessageError` when the request lacks what a template needs,
        `StaleCursorError` when it starts over.
        """
        step = self.step(cursor)
        if not step.needs <= self._picked.keys():
            raise StaleCursorError("the partner file picks something else now")
        values = self._values_at(cursor, step)
        call = self._addressed(cursor, step, values)
        if self._volatile:
            call = redirects.followed(self._volatile, cursor, call)
        if not self._is_own(call.url):
            call = _for_others(call, step, values)
        changes: dict[str, Any] = {}
        if step.json is not None:
            document = step.json(values)
            if step.pager is not None:
                step.pager.into_json(cursor, document)
            changes["body"] = _json_bytes(document)
            changes["headers"] = {"Content-Type": "application/json", **call.headers}
        elif step.form:
            fields = [(name, template(values)) for name, template in step.form]
            changes["body"] = urlencode(fields).encode()
            kind = "application/x-www-form-urlencoded"
            changes["headers"] = {"Content-Type": kind, **call.headers}
        call = replace(call, **changes) if changes else call
        self._last = (cursor, call)
        return call

    def step(self, cursor: Cursor) -> Step:
        """Return the step that is called: the one before, where its URL has to be picked anew."""
        step = self._way.step(cursor)
        if step.picked_url is not None and step.picked_url not in self._volatile:
            return self._report.steps[step.index - 1]
        return step

    def _values_at(self, cursor: Cursor, step: Step) -> Values:
        parts = self._way.parts(cursor)
        if parts is None and not step.name:
            return self._values
        values: dict[str, Any] = {**self._values, "picked": self._all_picked()}
        if parts is not None:
            values["from"], values["to"] = parts.first.isoformat(), parts.until.isoformat()
            split = self._report.spec.split
            if split and not parts.days:
                params = {**self._values["params"], split.param: split.values[parts.value]}
                values["params"] = params
        if step.each is not None:
            values["item"] = self._way.item(cursor, step, values["picked"])
        return values

    def _all_picked(self) -> Mapping[str, Any]:
        return {**self._picked, **self._volatile} if self._volatile else self._picked

    def _addressed(self, cursor: Cursor, step: Step, values: Values) -> Call:
        """Return the call of a cursor's page as if to the partner: no redirect, no body."""
        call = self._rendered(step, values)
        if "url" in cursor:
            return replace(call, url=cursor["url"])
        if step.pager is not None and (parameters := step.pager.parameters(cursor)):
            return replace(call, url=_with_query(call.url, parameters))
        return call

    def _rendered(self, step: Step, values: Values) -> Call:
        secrets = {"secret_headers": self._auth.headers, "secret_query": self._auth.query}
        call = render_call(self._partner, self._report, step, values, **secrets)
        if step.picked_url is None:
            return self._with_redirects(call, step.hosts) if step.hosts else call
        if len(call.url) > _MAX_URL_CHARS:
            raise InvalidMessageError(f"picked.{step.picked_url}: too long for a URL")
        return replace(call, hosts=step.hosts or call.hosts)

    def _with_redirects(self, call: Call, hosts: tuple[str, ...]) -> Call:
        """Let redirects lead to a step's hosts; only they: the call itself has the credential."""
        refused = refusal(call.url, call.hosts, allow_private=call.allow_private)
        if refused:
            raise InvalidMessageError(refused)
        return replace(call, hosts=(*call.hosts, *hosts))

    def _is_own(self, url: str) -> bool:
        """Say whether a URL is of the partner's own hosts: no other gets its credential."""
        allow_private = self._partner.spec.allow_private
        return not refusal(url, self._partner.hosts, allow_private=allow_private)

    # --- judging ---------------------------------------------------------------------------

    def judge(self, cursor: Cursor, outcome: Answer | Failure, now_wall: float) -> Verdict:
        """Return what an answer to a cursor's call means, and what it says of limits."""
        if isinstance(outcome, Failure):
            if outcome.kind is FailureKind.NO_ROOM:
                return _no_room(outcome.detail)
            kind = _FAILURES.get(outcome.kind, Outcome.TRANSIENT)
            is_large = outcome.kind is FailureKind.TOO_LARGE
            hint = "; see max_answer_mib" if is_large else ""
            reason = redacted_reason(f"{outcome.kind}: {outcome.detail}{hint}", self._secrets)
            verdict = Verdict(outcome=kind, reason=reason[:500])
            return self._in_parts(cursor, verdict) if is_large else verdict
        step = self.step(cursor)
        body = _body(step, outcome)
        try:
            verdict = self._judged(cursor, step, outcome, body, now_wall)
        except NoRoomError as error:
            return _no_room(str(error))
        if self._partner.usage:
            scope = self._partner.slowed_by(self._report.name)
            slower = paces(self._partner.usage, outcome, body, scope, now_wall)
            verdict = replace(verdict, paces=slower)
        if self._partner.costs:
            found = ((n, cost_of(source, outcome, body)) for n, source in self._partner.costs)
            told = tuple((n, cost) for n, cost in found if cost is not None)
            verdict = replace(verdict, costs=told)
        return replace(verdict, is_server_error=True) if outcome.status >= 500 else verdict

    def _judged(
        self, cursor: Cursor, step: Step, outcome: Answer, body: Body, now_wall: float
    ) -> Verdict:
        """Return what it means: the partner's rules, then the table."""
        for adopt in step.adopt:
            if adopt.rule.may_match(outcome.status) and adopt.rule.matches(outcome, body):
                return self._done(cursor, step, outcome, body, now_wall, adopt.picks)
        for rule in self._fitting(step, outcome, body):
            return self._by_rule(rule, cursor, step, outcome, body, now_wall)
        if outcome.status in redirects.STATUSES:
            return self._redirected(cursor, step, outcome, body)
        if step.poll is not None and outcome.status in _ACCEPTED:
            return self._polled(cursor, step, step.poll, outcome, body, now_wall)
        if outcome.status in (_TAKEN if step.is_data else _ACCEPTED):
            return self._taken(cursor, step, outcome, body, now_wall)
        if outcome.status in _NOTHING and step.poll is None:
            return self._nothing(cursor, step, now_wall)
        if step.picked_url is not None and outcome.status in _URL_GONE:
            return self._refused(Outcome.EXPIRED, step, outcome, body, "the URL has expired")
        if outcome.status in _UNAUTHORIZED and self._is_bare(cursor):
            return self._refused(Outcome.EXPIRED, step, outcome, body, _LED_AWAY)
        if step.index and step.each is None and outcome.status in _NOT_THERE:
            return self._not_there(cursor, step, outcome, body, now_wall)
        return self._by_status(step, outcome, body, now_wall)

    def _redirected(self, cursor: Cursor, step: Step, answer: Answer, body: Body) -> Verdict:
        """Go where the partner says, with a call of its own."""
        try:
            call = self._call_of(cursor)
            if not redirects.leads_on(call, answer):
                raise UnexpectedAnswerError("a redirect that is not followed")
            volatile = redirects.after(self._volatile, cursor, call, answer)
        except (UnexpectedAnswerError, InvalidMessageError) as error:
            return self._refused(Outcome.PERMANENT, step, answer, body, str(error))
        return Verdict(outcome=Outcome.OK, next_cursor=dict(cursor), empty=True, volatile=volatile)

    def _fitting(self, step: Step, answer: Answer, body: Body) -> Iterator[Rule]:
        for rule in self._partner.rules_for(answer.status):
            if rule.spec.steps and step.name not in rule.spec.steps:
                continue
            if rule.matches(answer, body):
                yield rule

    def fitting(self, cursor: Cursor, answer: Answer) -> list[str]:
        """Return the labels of all rules that fit an answer: the first one decides. For people."""
        step = self.step(cursor)
        body = _body(step, answer)
        adopted = [one.rule for one in step.adopt if one.rule.may_match(answer.status)]
        labels = [f"{step.name}.{rule.label}" for rule in adopted if rule.matches(answer, body)]
        return labels + [rule.label for rule in self._fitting(step, answer, body)]

    def _by_rule(
        self, rule: Rule, cursor: Cursor, step: Step, answer: Answer, body: Body, now_wall: float
    ) -> Verdict:
        why = rule.spec.reason or rule.label
        match rule.outcome:
            case Outcome.OK if step.is_data:
                return replace(self._nothing(cursor, step, now_wall), reason=rule.spec.reason)
            case Outcome.OK:
                over = self._ok(self._way.after_part(cursor), empty=True)
                return replace(over, reason=rule.spec.reason)
            case Outcome.TOO_BIG:
                return self._too_big(cursor, step, answer, body, why)
            case Outcome.AUTH if self._is_bare(cursor):
                return self._refused(Outcome.EXPIRED, step, answer, body, f"{why}; {_LED_AWAY}")
            case Outcome.EXPIRED if step.picked_url is None:
                return self._refused(Outcome.FAILED, step, answer, body, why)
        return Verdict(
            outcome=rule.outcome,
            reason=f"HTTP {answer.status}: {why}",
            wait_seconds=rule.wait_seconds(answer, body, now_wall),
            growing=rule.growing,
            scope=rule.scope or self._partner.slowed_by(self._report.name),
            sample=self._sample(step, body),
        )

    def _nothing(self, cursor: Cursor, step: Step, now_wall: float) -> Verdict:
        """Take an answer that says that there is no data: of the item, or of the whole part."""
        if step.is_data or not step.picks:
            following = self._way.after_call(cursor, step, self._all_picked(), now_wall)
        else:
            following = self._way.after_part(cursor)
        return self._ok(following, empty=True)

    def _polled(
        self, cursor: Cursor, step: Step, poll: Poll, answer: Answer, body: Body, now_wall: float
    ) -> Verdict:
        try:
            body.check()
        except BrokenAnswerError as error:
            return self._refused(Outcome.TRANSIENT, step, answer, body, str(error))
        except UnexpectedAnswerError as error:
            return self._refused(Outcome.UNEXPECTED, step, answer, body, str(error))
        matching = (state for state, rule in poll.states if rule.matches(answer, body))
        state = next(matching, poll.otherwise)
        if state == "pending":
            return self._pending(cursor, step, poll, answer, body, now_wall)
        if state == "done":
            return self._taken(cursor, step, answer, body, now_wall)
        if state == "empty":
            return self._ok(self._way.after_part(cursor), empty=True)
        if state is None:
            return self._refused(
                Outcome.UNEXPECTED, step, answer, body, "none of the poll's states"
            )
        said = _said(poll, body)
        if state in _MADE_OVER:
            why = f"the report is {state}" if state != "failed" else "the report failed"
            return self._refused(Outcome.FAILED, step, answer, body, f"{why}{said}")
        return self._too_big(cursor, step, answer, body, f"the report is too big{said}")

    def _pending(
        self, cursor: Cursor, step: Step, poll: Poll, answer: Answer, body: Body, now_wall: float
    ) -> Verdict:
        since = float(cursor.get("since", now_wall))
        if now_wall - since >= poll.spec.total_seconds:
            why = f"not done after {poll.spec.total_seconds:.0f} s"
            return self._refused(Outcome.FAILED, step, answer, body, why)
        polls = int(cursor.get("polls", "0")) + 1
        told = (seconds_from(wait(answer, body), now_wall) for wait in poll.waits)
        said = next((seconds for seconds in told if seconds), None)
        return Verdict(
            outcome=Outcome.PENDING,
            wait_seconds=max(
                poll.wait_seconds(polls) if said is None else said, POLL_LEAST_SECONDS
            ),
            jitter=poll.spec.jitter if said is None else 0.0,
            next_cursor={**cursor, "since": f"{since:.0f}", "polls": str(polls)},
        )

    def _not_there(
        self, cursor: Cursor, step: Step, answer: Answer, body: Body, now_wall: float
    ) -> Verdict:
        """Wait for what was made a moment ago; what is gone is made anew."""
        poll = step.poll
        if answer.status == _NEVER_FOUND and poll is None:
            return self._by_status(step, answer, body, now_wall)
        age = now_wall - float(cursor.get("since", now_wall))
        if answer.status == _NEVER_FOUND and poll is not None and age < poll.spec.unseen_seconds:
            return self._pending(cursor, step, poll, answer, body, now_wall)
        return self._refused(Outcome.FAILED, step, answer, body, "what was made is not there")

    def _taken(
        self, cursor: Cursor, step: Step, answer: Answer, body: Body, now_wall: float
    ) -> Verdict:
        pager = step.pager
        try:
            if step.is_data or step.is_json:
                body.check()
            following = None
            if pager is not None:
                call = self._base_of(cursor, step)
                if step.is_data and self._report.spec.format != "csv":
                    body.row_count(self._report.rows)
                following = pager.next(cursor, call, answer, body, self._secrets)
        except BrokenAnswerError as error:
            return self._refused(Outcome.TRANSIENT, step, answer, body, str(error))
        except (UnexpectedAnswerError, InvalidMessageError) as error:
            return self._refused(Outcome.UNEXPECTED, step, answer, body, str(error))
        return self._done(cursor, step, answer, body, now_wall, step.picks, following)

    def _done(
        self,
        cursor: Cursor,
        step: Step,
        answer: Answer,
        body: Body,
        now_wall: float,
        picks: Mapping[str, Source],
        page: Cursor | None = None,
    ) -> Verdict:
        """Take a step's answer and what it gives; ``page``: the pager's next one."""
        try:
            picked = self._picked_from(cursor, step, picks, answer, body) if picks else {}
        except UnexpectedAnswerError as error:
            return self._refused(Outcome.UNEXPECTED, step, answer, body, str(error))
        at = cursor
        if step.is_data and answer.body and self._report.may_split:
            at = {**cursor, "kept": str(int(cursor.get("kept", "0")) + 1)}
        following: Cursor | None
        is_fresh = step is not self._way.step(cursor)  # it was asked for a fresh URL
        if page is not None:
            following = self._way.page(at, page)
        elif is_fresh:
            following = {key: value for key, value in cursor.items() if key != "polls"}
        else:
            everything = {**self._all_picked(), **picked} if picked else self._all_picked()
            following = self._way.after_call(at, step, everything, now_wall)
        ok = self._ok(following, empty=not step.is_data)
        if not picked:
            return ok
        if is_fresh:  # what stands beside it is recorded already, and proves nothing
            return replace(ok, volatile=picked)
        volatile = {name: picked.pop(name) for name in step.volatile}
        return replace(ok, picked=picked, volatile=volatile)

    def _picked_from(
        self,
        cursor: Cursor,
        step: Step,
        picks: Mapping[str, Source],
        answer: Answer,
        body: Body,
    ) -> dict[str, Any]:
        picked = picked_from(picks, answer, body)
        for name in step.lists:
            if not isinstance(picked[name], list):
                raise UnexpectedAnswerError(f"pick.{name}: not a list")
        for name in step.volatile - step.lists:
            if not isinstance(picked[name], str):
                raise UnexpectedAnswerError(f"pick.{name}: not a URL")
        if "calls" in cursor:  # a list that comes in pages
            for name, value in picked.items():
                before = self._picked.get(name)
                if isinstance(value, list) and isinstance(before, list):
                    picked[name] = before + value
        for name in step.lists:
            picked[name] = _each_once(picked[name])
        check_recordable(picked)
        return picked

    def _ok(self, following: Cursor | None, *, empty: bool) -> Verdict:
        poll = None
        if following is not None and "calls" not in following:
            step = self._way.step(following)
            poll = step.poll if step.index else None
        return Verdict(
            outcome=Outcome.OK,
            next_cursor=following,
            empty=empty,
            wait_seconds=poll.wait_seconds(0) if poll else None,
            jitter=poll.spec.jitter if poll else 0.0,
        )

    def _too_big(self, cursor: Cursor, step: Step, answer: Answer, body: Body, why: str) -> Verdict:
        verdict = self._refused(Outcome.PERMANENT, step, answer, body, why)
        parts = self._in_parts(cursor, verdict)
        if parts.outcome is Outcome.TOO_BIG:
            return parts
        why = f"{why}; it cannot be split further, see split"
        return self._refused(Outcome.PERMANENT, step, answer, body, why)

    def _in_parts(self, cursor: Cursor, verdict: Verdict) -> Verdict:
        """Return what splits the request, or the verdict where nothing can be split."""
        parts = self._way.smaller(cursor) if self._report.may_split else None
        if parts is None:
            return verdict
        return replace(
            verdict,
            outcome=Outcome.TOO_BIG,
            next_cursor={"parts": str(parts)},
            dropped=int(cursor.get("kept", "0")),
            part_days=parts.days,
        )

    def _call_of(self, cursor: Cursor) -> Call:
        if self._last is not None and self._last[0] == cursor:
            return self._last[1]
        return self.call(cursor)

    def _is_bare(self, cursor: Cursor) -> bool:
        """Say whether the call went without the credential: its answer says nothing of that."""
        if self._last is None or self._last[0] != cursor:
            return False
        call = self._last[1]
        sent = (call.secret_headers, call.secret_query)
        return sent != (self._auth.headers, self._auth.query)

    def _base_of(self, cursor: Cursor, step: Step) -> Call:
        """Return the call that a next-URL is seen from: the partner's own, wherever it was led."""
        call = self._call_of(cursor)
        if self._volatile:
            own = self._addressed(cursor, step, self._values_at(cursor, step))
            call = replace(own, url=call.url) if self._is_own(call.url) else own
        return replace(call, hosts=self._partner.hosts)

    def _by_status(self, step: Step, answer: Answer, body: Body, now_wall: float) -> Verdict:
        status = answer.status
        wait = seconds_from(answer.headers.get("retry-after"), now_wall)
        if status == 429:
            return self._refused(Outcome.THROTTLED, step, answer, body, "too many requests", wait)
        if status == 401:
            return self._refused(Outcome.AUTH, step, answer, body, "the credential is refused")
        if status >= 500 or status in _TRANSIENT:
            return self._refused(Outcome.TRANSIENT, step, answer, body, "no answer yet", wait)
        if 300 <= status < 500:
            return self._refused(Outcome.PERMANENT, step, answer, body, "refused")
        return self._refused(Outcome.UNEXPECTED, step, answer, body, "an unknown status")

    def _refused(
        self,
        outcome: Outcome,
        step: Step,
        answer: Answer,
        body: Body,
        why: str,
        wait_seconds: float | None = None,
    ) -> Verdict:
        if step.volatile:
            why = _ANY_URL.sub("[url]", why)
        return Verdict(
            outcome=outcome,
            reason=redacted_reason(f"HTTP {answer.status}: {why}", self._secrets)[:500],
            wait_seconds=wait_seconds,
            scope=self._partner.slowed_by(self._report.name),
            sample=self._sample(step, body),
        )

    def _sample(self, step: Step, body: Body) -> bytes:
        text = body.text()
        if step.volatile:
            text = _ANY_URL.sub("[url]", text)
        return redacted(text, self._secrets)


def _body(step: Step, answer: Answer) -> Body:
    return Body(answer.body, step.answers if answer.status < 400 else step.refusals)


def _each_once(values: list[Any]) -> list[Any]:
    """Return them without those that came before: on the page before, say, when one was added."""
    return list({orjson.dumps(one, option=orjson.OPT_SORT_KEYS): one for one in values}.values())


def _for_others(call: Call, step: Step, values: Values) -> Call:
    """Return a call to a host that is not the partner's: only a picked URL's step has headers."""
    own = step.headers if step.picked_url is not None else ()
    headers = {name: template(values) for name, template in own}
    return replace(call, headers=headers, secret_headers=(), secret_query=())


def _no_room(reason: str) -> Verdict:
    """Ask again later, as often as it takes: that others get through says nothing about it."""
    return Verdict(
        outcome=Outcome.THROTTLED, reason=reason, wait_seconds=NO_ROOM_SECONDS, scope="call"
    )


def _said(poll: Poll, body: Body) -> str:
    """Return what the partner says about why, for people; empty: nothing."""
    if poll.reason is None:
        return ""
    try:
        said = body.pick(poll.reason)
    except (PickError, UnexpectedAnswerError):
        return ""
    return f": {str(said)[:200]}" if said else ""


def _secret_texts(volatile: Mapping[str, Any]) -> list[str]:
    """Return what of picked URLs must stand in no sample: they are as good as a credential."""
    found: list[str] = []
    waiting = list(volatile.values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and len(value) >= _SECRET_CHARS:
            query = parse_qsl(value.partition("?")[2])
            found += [value, *(text for _, text in query if len(text) >= _SECRET_CHARS)]
    return found


def _with_query(url: str, parameters: list[tuple[str, str]]) -> str:
    text = urlencode(parameters, quote_via=quote, safe="")
    return f"{url}{'&' if '?' in url else '?'}{text}"


def _json_bytes(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except (TypeError, ValueError):
        raise InvalidMessageError("json: a value that JSON cannot hold") from None
