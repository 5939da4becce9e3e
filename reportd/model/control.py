"""What people ask of the running daemons: one record of the topic ``control``, key = the scope.

The newest record of a scope counts; one without a value lifts it. Workers and tools read them.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, TypeAdapter, ValidationError

from reportd.errors import InvalidMessageError
from reportd.model.base import Name, Record, Text
from reportd.model.request import CLASSES, Request
from reportd.model.run import Finished, RunId

ControlAction = Literal["pause", "slow", "cancel"]
TargetKind = Literal["partner", "account", "report", "class", "run"]

CLASS = "class:"
RUN = "run:"

_NAME: TypeAdapter[str] = TypeAdapter(Name)


class Target(NamedTuple):
    """What a control is about; written as its scope."""

    kind: TargetKind
    partner: str
    value: str

    @classmethod
    def parse(cls, scope: str) -> Self:
        """Read a scope; raises `InvalidMessageError` with all its forms."""
        partner, slash, account = scope.partition("/")
        if scope.startswith(RUN):
            RunId.parse(scope.removeprefix(RUN))
            return cls("run", "", scope.removeprefix(RUN))
        if scope.startswith(CLASS) and scope.removeprefix(CLASS) in CLASSES:
            return cls("class", "", scope.removeprefix(CLASS))
        if slash and account and _is_name(partner):
            return cls("account", partner, account)
        partner, dot, report = scope.partition(".")
        if _is_name(partner) and (_is_name(report) if dot else True):
            return cls("report", partner, report) if dot else cls("partner", partner, "")
        raise InvalidMessageError(
            f"scope {scope[:64]!r}: write PARTNER, PARTNER/ACCOUNT, PARTNER.REPORT or"
            f" {CLASS}{'|'.join(CLASSES)}"
        )


def targets_of(request: Request) -> tuple[Target, ...]:
    """Return everything that a request belongs to and that may be paused or slowed down."""
    return (
        Target("partner", request.partner, ""),
        Target("report", request.partner, request.report),
        Target("account", request.partner, request.account),
        Target("class", "", request.class_),
    )


def is_past(action: str, at: float, finished: Finished | None) -> bool:
    """Say whether it has cancelled a run that was over after that: nothing of it is open."""
    return action == "cancel" and finished is not None and finished.finished_at > at


class Control(Record):
    """What is asked for a scope, by whom, why and until when."""

    v: Literal[1] = 1
    scope: Text
    action: ControlAction
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Of ``slow``: which part of its limits the scope may use."""
    until: float | None = None
    """Epoch seconds at which it ends by itself."""
    at: float
    """Epoch seconds at which it was asked for."""
    who: Text = ""
    reason: Text = ""

    @property
    def target(self) -> Target:
        """What it is about; raises `InvalidMessageError`."""
        return Target.parse(self.scope)

    def holds(self, wall: float) -> bool:
        """Say whether it still counts (epoch seconds)."""
        return self.until is None or wall < self.until


def read_control(key: bytes | None, value: bytes) -> tuple[str, Control | None]:
    """Return a record's scope and what it asks for; None: nothing any more.

    Raises `InvalidMessageError` for what is no record of a control.
    """
    scope = (key or b"").decode(errors="replace")
    if not value:
        return scope, None
    control = Control.from_json(value)
    target = control.target
    if control.scope != scope:
        raise InvalidMessageError("scope: not the record's key")
    if (control.action == "cancel") != (target.kind == "run"):
        raise InvalidMessageError("action: runs are cancelled, and nothing else is")
    return scope, control


def folded(records: Iterable[tuple[str, Control | None]]) -> dict[str, Control]:
    """Return what is asked for by scope; the records come in the topic's order."""
    found: dict[str, Control] = {}
    for scope, control in records:
        found.pop(scope, None)
        if control is not None:
            found[scope] = control
    return found


def _is_name(text: str) -> bool:
    try:
        _NAME.validate_python(text)
    except ValidationError:
        return False
    return True
