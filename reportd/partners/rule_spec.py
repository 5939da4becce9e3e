"""What answers mean, as a partner file says it: rules, and how long their scope waits.

Pure declarations; part of `reportd.partners.spec`, compiled by `reportd.partners.rules`.
"""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from reportd.config.base import Section, as_tuple
from reportd.config.problems import FieldProblems
from reportd.model.base import Name
from reportd.partners.fields import (
    HeaderName,
    Jmes,
    Per,
    Regex,
    Scope,
    Statuses,
    Until,
    Wait,
    Waits,
)


class RuleSpec(Section):
    """Which answers are meant: all that is given must hold."""

    status: Statuses | None = None
    """``429``, ``[500, 503]``, ``"5xx"``."""
    header: dict[HeaderName, Regex] = {}
    """A header and a regular expression that is found in it."""
    body: Jmes | None = None
    """A JMESPath that is true for the JSON body: ``"code == `40100`"``."""
    text: Regex | None = None
    """A regular expression that is found in the first 4 KiB of the body."""
    steps: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = ()
    """Only answers to steps of these names; default: all answers."""
    reason: Annotated[str, StringConstraints(max_length=200)] = ""
    """What people read; default: the rule itself."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.status is None and not self.header and not self.body and not self.text:
            raise ValueError("give at least one of status, header, body, text")
        return self


class WaitSpec(Section):
    """How long something waits."""

    wait: Waits = ()
    """Where the answer says it: ``header:Retry-After``, ``header:X-Usage:JMESPATH`` (JSON in a
    header), ``body:error.retryDelay``, ``text:try again in (\\d+) seconds``; a list is tried in
    order. Numbers, durations (``40591s``), HTTP dates and ISO instants are understood, of several
    the longest; groups of a regular expression named hours, minutes, seconds, milliseconds are
    added up."""
    wait_unit: Literal[
        "milliseconds", "seconds", "minutes", "hours", "epoch", "epoch_milliseconds"
    ] = "seconds"
    """What a plain number there means."""
    wait_factor: Annotated[float, Field(ge=0.1, le=100)] = 1.0
    """What is put on top of what the answer says: 2 is twice as long."""
    wait_seconds: Annotated[float | None, Field(ge=0, le=86400 * 31)] = None
    """How long when the answer does not say."""
    wait_until: Until | None = None
    """``midnight America/Los_Angeles``, ``03:00 UTC`` or ``hour``: when the answer does not say."""


class WaitRuleSpec(WaitSpec, RuleSpec):
    """A rule that also says how long its scope waits."""

    wait_growth: Annotated[float, Field(ge=1, le=10)] = 1.0
    """What every further refusal in a row multiplies ``wait_seconds`` with ..."""
    wait_most_seconds: Annotated[float, Field(gt=0, le=86400 * 31)] = 3600.0
    """... up to so many."""
    scope: Scope | None = None
    """What waits: call (this request alone), report, account, credential, partner; default: the
    narrowest limit."""

    @model_validator(mode="after")
    def _check_growth(self) -> Self:
        if self.wait_growth > 1 and self.wait_until is not None:
            raise FieldProblems({"wait_growth": "not with wait_until: that is a time of day"})
        if self.wait_growth > 1 and self.wait_seconds is None:
            raise FieldProblems({"wait_seconds": "is missing: what wait_growth begins with"})
        return self


class UsageSpec(WaitSpec):
    """What answers, good ones too, say of a limit's use: its scope slows down before it is spent.

    One of ``used`` and ``left``; the longest wait that one of the rules finds counts.
    """

    used: Wait | None = None
    """Where the answer says how much is used, in per cent: ``header:X-Usage:call_count``; of
    several numbers the largest."""
    above: Annotated[float, Field(ge=0, lt=1_000_000)] = 80.0
    """used: from where on it slows down."""
    full: Annotated[float, Field(gt=0, le=1_000_000)] = 100.0
    """used: what stands for all of it; 1 where the answer says a share."""
    left: Wait | None = None
    """Where the answer says how many calls are left: ``header:X-RateLimit-Remaining``; of several
    numbers the smallest."""
    below: Annotated[float, Field(ge=0, lt=1_000_000_000)] = 1.0
    """left: at which number, or below, it slows down."""
    pace_seconds: Annotated[float | None, Field(gt=0, le=86400)] = None
    """How long the scope waits after an answer when all is used; less in proportion before. Where
    the answer itself says how long (``wait``), that counts."""
    scope: Per | None = None
    """What slows down: report, account, credential, partner; default: the narrowest limit."""

    @model_validator(mode="after")
    def _check_usage(self) -> Self:
        if (self.used is None) == (self.left is None):
            raise ValueError("give exactly one of used, left")
        problems = {}
        if self.used is not None and self.above >= self.full:
            problems["above"] = "must be less than full"
        told = self.wait or self.wait_seconds is not None or self.wait_until is not None
        if not told and self.pace_seconds is None:
            problems["pace_seconds"] = (
                "is missing; add it, or one of wait, wait_seconds, wait_until"
            )
        if self.pace_seconds is not None and (self.wait_seconds is not None or self.wait_until):
            problems["pace_seconds"] = "not with wait_seconds or wait_until: both say how long"
        if problems:
            raise FieldProblems(problems)
        return self


class GrowingSpec(Section):
    """A wait that grows while the partner goes on refusing."""

    first_seconds: Annotated[float, Field(gt=0, le=86400 * 31)]
    """The first one."""
    growth: Annotated[float, Field(ge=1, le=10)] = 2.0
    """What each further one is multiplied with."""
    most_seconds: Annotated[float, Field(gt=0, le=86400 * 31)] = 3600.0
    """The longest one."""


class WaitsSpec(Section):
    """How long where neither the answer nor a rule says it."""

    slow_down: GrowingSpec = GrowingSpec(first_seconds=1, most_seconds=60)
    """After 429 and ``slow_down``; default: 1, 2, 4 ... 60 s."""
    quota: GrowingSpec = GrowingSpec(first_seconds=900, growth=1)
    """After ``quota``; default: 15 minutes, each time."""
