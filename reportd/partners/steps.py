"""The steps of a report, compiled. Immutable and thread-safe.

A report that is written flat has one, without a name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from reportd.errors import InvalidMessageError
from reportd.partners.answer_spec import CsvSpec
from reportd.partners.call_spec import CallSpec
from reportd.partners.paging import Pager, compile_pager
from reportd.partners.picking import Pick, compile_pick
from reportd.partners.picks import Source as PickSource
from reportd.partners.picks import compile_picks, needs_json
from reportd.partners.report_spec import ReportSpec
from reportd.partners.rule_spec import RuleSpec
from reportd.partners.rules import Rule, compile_rule
from reportd.partners.step_spec import PollSpec, StepSpec, uses
from reportd.partners.templates import (
    Builder,
    Template,
    Values,
    compile_json,
    compile_template,
    in_header,
    in_url,
    mentions,
    plain,
)
from reportd.partners.waits import Source, compile_source

POLL_LEAST_SECONDS = 0.5
"""Between two polls, whatever file and partner say."""
State = Literal["too_big", "failed", "cancelled", "expired", "empty", "done", "pending"]
STATES: tuple[State, ...] = (
    "too_big",
    "failed",
    "cancelled",
    "expired",
    "empty",
    "done",
    "pending",
)
"""In the order in which an answer is asked for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How a step is asked until it is done, compiled."""

    spec: PollSpec
    states: tuple[tuple[State, Rule], ...]
    otherwise: State | None
    """What an answer is that is none of them; None: unexpected."""
    reason: Pick | None
    waits: tuple[Source, ...]

    def wait_seconds(self, polls: int) -> float:
        """Return the wait after so many polls; one that begins with nothing grows, too."""
        spec = self.spec
        first = max(spec.first_seconds, POLL_LEAST_SECONDS) if polls else spec.first_seconds
        return float(min(first * spec.factor ** min(polls, 100), spec.most_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """An answer that says that it is running already, compiled."""

    rule: Rule
    picks: Mapping[str, PickSource]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, compiled."""

    name: str
    index: int
    method: str
    url: Template
    picked_url: str | None
    """Which pick is the URL, or the list of URLs."""
    query: tuple[tuple[str, Template], ...]
    """Names are encoded, values are not."""
    headers: tuple[tuple[str, Template], ...]
    """Of this step."""
    shared_headers: tuple[tuple[str, Template], ...]
    """Of the report: for the partner's own hosts alone."""
    json: Builder | None
    form: tuple[tuple[str, Template], ...]
    pager: Pager | None
    is_data: bool
    is_json: bool
    """Whether its answers have to be whole JSON."""
    answers: ReportSpec
    """How its answers are read."""
    refusals: ReportSpec
    """How those with 400 and above are read: as JSON, whatever the rows come as."""
    picks: Mapping[str, PickSource]
    volatile: frozenset[str]
    """Which of them are URLs of the next step: kept in memory alone."""
    lists: frozenset[str]
    """Which of them must be lists."""
    adopt: tuple[Adopt, ...]
    hosts: tuple[str, ...]
    each: str | None
    poll: Poll | None
    timeout_seconds: float
    needs: frozenset[str]
    """What it, or a step behind it, uses of what is picked before it and recorded."""
    early: tuple[Template, ...]
    """Its templates that need nothing picked: what a message must fill is known at once."""


def compile_steps(spec: ReportSpec) -> tuple[Step, ...]:
    """Compile the steps of a checked report."""
    rows = compile_pick(spec.rows)
    if not spec.steps:
        nothing: frozenset[str] = frozenset()
        return (_compiled(spec, spec, 0, rows, volatile=nothing, lists=nothing, needs=nothing),)
    urls = {step.picked_url for step in spec.steps if step.picked_url}
    lists = {step.each.partition(".")[2] for step in spec.steps if step.each}
    return tuple(
        _compiled(
            step,
            spec,
            index,
            rows,
            volatile=frozenset(urls & step.pick.keys()),
            lists=frozenset(lists & step.pick.keys()),
            needs=_needs(spec.steps, index) - urls,
        )
        for index, step in enumerate(spec.steps)
    )


def _needs(steps: Sequence[StepSpec], index: int) -> frozenset[str]:
    before = {name for step in steps[:index] for name in step.pick}
    used = {name for step in steps[index:] for _, name in uses(step)}
    return frozenset(before & used)


def _compiled(
    call: CallSpec,
    report: ReportSpec,
    index: int,
    rows: Pick,
    *,
    volatile: frozenset[str],
    lists: frozenset[str],
    needs: frozenset[str],
) -> Step:
    step = call if isinstance(call, StepSpec) else None
    is_data = step is None or step.data or index == len(report.steps) - 1
    others = _other_answers(report)
    return Step(
        name=step.name if step else "",
        index=index,
        method="GET" if call.get is not None else "POST",
        url=compile_template(call.url, plain if step and step.picked_url else in_url),
        picked_url=step.picked_url if step else None,
        query=tuple((quote(key, safe=""), text) for key, text in _fields(call.query)),
        headers=_headers(call),
        shared_headers=_headers(report) if step else (),
        json=None if call.json_ is None else compile_json(call.json_),
        form=tuple(_fields(call.form)),
        pager=compile_pager(call.next_, rows) if call.next_ else None,
        is_data=is_data,
        is_json=bool(call.next_ or (step and (step.poll or needs_json(step.pick)))),
        answers=report if is_data else others,
        refusals=others,
        picks=compile_picks(step.pick) if step else {},
        volatile=volatile,
        lists=lists,
        needs=needs,
        adopt=_adopts(step) if step else (),
        hosts=step.hosts if step else (),
        each=step.each.partition(".")[2] if step and step.each else None,
        poll=_poll(step.poll) if step and step.poll else None,
        timeout_seconds=(step.timeout_seconds if step else None) or report.timeout_seconds,
        early=tuple(_early(call)),
    )


def _other_answers(report: ReportSpec) -> ReportSpec:
    """Return how the answers of steps are read that give no rows: as JSON."""
    return report.model_copy(update={"format": "json", "encoding": "utf-8", "csv": CsvSpec()})


def _headers(call: CallSpec) -> tuple[tuple[str, Template], ...]:
    return tuple((name, compile_template(text, in_header)) for name, text in call.headers.items())


def _fields(table: Mapping[str, Any]) -> Iterator[tuple[str, Template]]:
    for key, values in table.items():
        for value in values if isinstance(values, tuple) else (values,):
            yield key, compile_template(_literal(value))


def _literal(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _adopts(step: StepSpec) -> tuple[Adopt, ...]:
    return tuple(
        Adopt(rule=compile_rule("adopt", number, spec), picks=compile_picks(spec.pick))
        for number, spec in enumerate(step.adopt)
    )


def _poll(spec: PollSpec) -> Poll:
    states = [
        (state, compile_rule("adopt", 0, RuleSpec(body=getattr(spec, state))))
        for state in STATES
        if getattr(spec, state) is not None
    ]
    otherwise: State | None = None
    if spec.done is None:
        otherwise = "done"
    elif spec.pending is None:
        otherwise = "pending"
    return Poll(
        spec=spec,
        states=tuple(states),
        otherwise=otherwise,
        reason=compile_pick(spec.reason) if spec.reason else None,
        waits=tuple(compile_source(text) for text in spec.wait),
    )


def _early(call: CallSpec) -> Iterator[Template]:
    for key, text in call.templates():
        if any(path[0] in ("picked", "item") for path in mentions(text)):
            continue
        encode = {"get": in_url, "post": in_url, "headers": in_header}.get(str(key[0]))
        yield compile_template(text, encode) if encode else compile_template(text)


def check_early(step: Step, values: Values) -> None:
    """Render what needs nothing picked; raises `InvalidMessageError` where a value is missing."""
    for template in step.early:
        template(values)


def elements_of(value: Any, name: str) -> list[Any]:
    """Return the elements of a picked list; raises `InvalidMessageError`."""
    if not isinstance(value, list):
        raise InvalidMessageError(f"picked.{name}: not a list")
    return value
