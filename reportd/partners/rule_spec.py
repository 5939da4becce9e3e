"""Which answers are meant: what a rule of a partner file may ask of an answer.

Pure declarations, used by `reportd.partners.spec` and `reportd.partners.step_spec`.
"""

from typing import Annotated, Self

from pydantic import BeforeValidator, StringConstraints, model_validator

from reportd.config.base import Section, as_tuple
from reportd.model.base import Name
from reportd.partners.fields import HeaderName, Jmes, Regex, Statuses


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
