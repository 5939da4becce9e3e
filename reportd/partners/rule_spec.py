"""What answers mean, as a partner file says it: rules, and how long their scope waits.

Pure declarations; part of `reportd.partners.spec`, compiled by `reportd.partners.rules`.
"""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from reportd.config.base import Section, as_tuple
from reportd.model.base import Name
from reportd.partners.fields import HeaderName, Jmes, Per, Regex, Statuses, Until, Waits


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


class WaitRuleSpec(RuleSpec):
    """A rule that also says how long its scope waits."""

    wait: Waits = ()
    """Where the answer says it: ``header:Retry-After``, ``body:error.retryDelay``; a list is
    tried in order."""
    wait_unit: Literal["seconds", "minutes", "milliseconds", "epoch"] = "seconds"
    """What a plain number there means."""
    wait_seconds: Annotated[float | None, Field(ge=0, le=86400 * 31)] = None
    """How long when the answer does not say."""
    wait_until: Until | None = None
    """``midnight America/Los_Angeles``: when the answer does not say."""
    scope: Per | None = None
    """What waits; default: the narrowest limit."""
