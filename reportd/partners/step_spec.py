"""One step of a report of many: create, poll, download, list; see docs/design/flows.rst.

Pure declarations; part of `reportd.partners.report_spec`, which checks how steps fit together.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from reportd.config.base import Section, as_tuple
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.model.base import Name
from reportd.partners.call_spec import CallSpec
from reportd.partners.fields import Host, Jmes, PickedName, PickText, Waits
from reportd.partners.rule_spec import RuleSpec
from reportd.partners.templates import alone, mentions


class AdoptSpec(RuleSpec):
    """An answer that says: what you ask for is running already. It is adopted, not made again."""

    pick: Annotated[dict[Name, PickText], Field(min_length=1)]
    """Where this answer holds what the step picks: the same names."""


class PollSpec(Section):
    """The step is asked again and again, until the answer says that it is done.

    Every state but ``pending`` and ``done`` is looked for first, in the order that they stand in
    here. Waiting is no attempt and holds no thread and no limit; each call counts in the limits.
    """

    too_big: Jmes | None = None
    """True: the report is too big; it is split, see the report's ``split``."""
    failed: Jmes | None = None
    """True: the report failed; the request starts over, as an attempt."""
    cancelled: Jmes | None = None
    """True: somebody has cancelled it; the request starts over, as an attempt."""
    expired: Jmes | None = None
    """True: what was made is gone; the request starts over, as an attempt."""
    empty: Jmes | None = None
    """True: done, and there is no data."""
    done: Jmes | None = None
    """True: go on. Without it, whatever is no other state is done."""
    pending: Jmes | None = None
    """True: not yet. Without it, whatever is no other state is pending, if there is ``done``."""
    reason: Jmes | None = None
    """Where the answer says why it failed, for people."""
    first_seconds: Annotated[float, Field(ge=0, le=86400)] = 5.0
    """How long after the step before it is asked."""
    factor: Annotated[float, Field(ge=1, le=10)] = 1.5
    """How much longer each next wait is ..."""
    most_seconds: Annotated[float, Field(gt=0, le=86400)] = 300.0
    """... up to this."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share by which waits differ, so that polls do not come all at once."""
    wait: Waits = ("header:Retry-After",)
    """Where the answer says when to ask again; tried in order, longer and shorter ones obeyed."""
    unseen_seconds: Annotated[float, Field(ge=0, le=86400)] = 300.0
    """For so long after it was made, 404 means "not yet": not all of the partner knows of it. Later
    it is gone, as with 410 at once: the request starts over, as an attempt. Of a first step, which
    polls what nobody made, 404 is a refusal; a rule may say otherwise."""
    total_seconds: Annotated[float, Field(gt=0, le=31 * 86400)] = 3 * 3600.0
    """Not done after so long: the request starts over, as an attempt."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.done is None and self.pending is None:
            raise ValueError("give done, pending or both: what the answer says then")
        return self


class StepSpec(CallSpec):
    """``[[reports.NAME.steps]]``: one step, in their order."""

    name: Name
    """What logs, rules and other steps call it."""
    pick: dict[Name, PickText] = {}
    """What later steps need, by name: a JMESPath, ``header:NAME``, ``header:NAME:REGEX``, or
    ``text:REGEX``; of a REGEX, its first group. Used as ``{{ picked.NAME }}``."""
    adopt: Annotated[tuple[AdoptSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: it is running already. The step is done, with what they pick."""
    hosts: Annotated[tuple[Host, ...], BeforeValidator(as_tuple)] = ()
    """The hosts that a picked URL may be of (default: the partner's), or that a redirect may lead
    to beside the partner's. They get no credential, unless they are the partner's, too."""
    each: PickedName | None = None
    """``picked.NAME``: one call (with its pages) for each element of a list, ``{{ item }}``."""
    data: bool = False
    """Whether its answers give rows, too; the last step's always do."""
    poll: PollSpec | None = None
    """The step is asked until it is done."""
    timeout_seconds: Annotated[float | None, Field(gt=0, le=3600)] = None
    """For one call; default: the report's."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = dict(self.call_problems())
        if self.adopt and not self.pick:
            problems["adopt",] = "the step picks nothing that could be adopted; give pick"
        for number, adopt in enumerate(self.adopt):
            if adopt.pick.keys() != self.pick.keys():
                problems["adopt", number, "pick"] = (
                    f"must pick what the step picks: {', '.join(self.pick)}"
                )
        problems.update(self._each_problems())
        problems.update(self._url_problems())
        if problems:
            raise FieldProblems(problems)
        return self

    def _each_problems(self) -> Iterator[tuple[Location, str]]:
        if self.each is None:
            for key, text in self.templates():
                if any(path[0] == "item" for path in mentions(text)):
                    yield key, '{{ item }} needs each = "picked.NAME": the list it is of'
            return
        if self.pick:
            yield ("pick",), "not with each: it would be picked once for each element"
        if self.poll:
            yield ("poll",), "not with each"

    def _url_problems(self) -> Iterator[tuple[Location, str]]:
        if self.picked_url is not None and self.next_:
            yield ("next",), "not where the URL is picked: it is never kept for a next page"

    @property
    def picked_url(self) -> str | None:
        """Return which pick is the URL as it is (an element of which, with ``each``), if one is."""
        path = alone(self.url)
        if path is None or path[0] not in ("picked", "item"):
            return None
        if path[0] == "picked":
            return path[1] if len(path) == 2 else None
        return self.each.partition(".")[2] if self.each else None


class SplitSpec(Section):
    """``split = { param = "hour", values = ["00", "01"] }``: what a single day is split by."""

    param: Name
    """A parameter of the report that has a default: what one call over all of them sends."""
    values: Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=2)]
    """What it is set to, one part after the other; together they are the day."""


def step_problems(steps: Sequence[StepSpec]) -> Iterator[tuple[Location, str]]:
    """Yield how the steps of a report do not fit together."""
    names = [step.name for step in steps]
    picked: dict[str, int] = {}
    for number, step in enumerate(steps):
        at: Location = ("steps", number)
        if step.name in names[:number]:
            yield (*at, "name"), f"there is a step {step.name!r} already"
        for key, name in uses(step):
            if name not in picked:
                hint = did_you_mean(name, picked)
                yield (*at, *key), f"picked.{name}: no earlier step picks it; {hint}"
        url = step.picked_url
        if url in picked:
            yield from _volatile_problems(steps, number, url, picked[url])
        if not step.data and number < len(steps) - 1:
            yield from _dataless_problems(step, at)
        for name in step.pick:
            if name in picked:
                other = steps[picked[name]].name
                yield (*at, "pick", name), f"step {other!r} picks something of this name already"
            picked.setdefault(name, number)


def uses(step: StepSpec) -> Iterator[tuple[Location, str]]:
    """Yield every pick that a step speaks of, and where."""
    if step.each is not None:
        yield ("each",), step.each.partition(".")[2]
    for key, text in step.templates():
        for path in mentions(text):
            if path[0] == "picked" and len(path) > 1:
                yield key, path[1]


def _dataless_problems(step: StepSpec, at: Location) -> Iterator[tuple[Location, str]]:
    if step.each:
        yield (*at, "each"), "its answers lead nowhere; give data = true"
    pages = step.next_
    if pages and pages.page is not None and not (pages.more or pages.pages or pages.total):
        yield (*at, "next", "page"), "needs more, pages or total: there are no rows to count"


def _volatile_problems(
    steps: Sequence[StepSpec], number: int, url: str, source: int
) -> Iterator[tuple[Location, str]]:
    """Yield what would keep a URL longer than from one call to the next."""
    at: Location = ("steps", number, "get" if steps[number].get is not None else "post")
    if steps[source].next_:
        yield ("steps", source, "next"), f"not where a URL is picked (picked.{url}): none is kept"
    if source != number - 1:
        yield at, f"picked.{url} is a URL: the step just before must pick it, URLs are not kept"
    for other, step in enumerate(steps):
        if other != number and any(name == url for _, name in uses(step)):
            what = f"picked.{url} is a URL of step {steps[number].name!r}, which alone may use it"
            yield ("steps", other), what
