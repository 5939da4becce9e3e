"""The records of ``ledger.<partner>``: end, step, grant. One partition belongs to one worker."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from reportd.errors import InvalidMessageError
from reportd.model.base import Record, problems_of

EndState = Literal["result", "dead", "superseded", "cancelled"]

POISONED = "poison"
"""The class of error of what could not be worked on at all."""


class PublishedFile(Record):
    """One file of a result."""

    path: str
    """Relative to the output root, as on disk (percent-encoded)."""
    day: str
    format: str
    rows: int
    bytes: int
    checksum: str
    """``crc32c:...`` or ``sha256:...`` of the file's bytes."""
    provisional: bool = False
    unchanged: bool = False
    """Its content is that of the file whose place it took."""


class End(Record):
    """A request's terminal state. The first end of (id, replay) wins."""

    v: Literal[1] = 1
    type: Literal["end"] = "end"
    id: str
    stands_for: str | None = None
    """The id of a request that was refused before it was anything: its place is the end's own."""
    replay: int = 0
    """0, or which replay of the dead letter this was: a replay is not ended by its first life."""
    topic: str
    offset: int
    state: EndState
    run: str = ""
    account: str = ""
    report: str = ""
    first_day: str = ""
    last_day: str = ""
    files: tuple[PublishedFile, ...] = ()
    rows: int = 0
    calls: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    reason: str = ""
    """Dead: error class and what happened; superseded: by which run."""


class Step(Record):
    """One durable answer of a many-call request: the highest (attempt, step) wins."""

    v: Literal[1] = 1
    type: Literal["step"] = "step"
    id: str
    replay: int = 0
    topic: str
    offset: int
    attempt: int
    step: int
    cursor: dict[str, str]
    """What the flow goes on from: step, page number, cursor, next URL's path and query."""
    file: str
    """The spool file, relative to the staging root; empty: the answer holds no rows."""
    bytes: int
    checksum: str
    calls: int = 0
    picked: dict[str, JsonValue] = {}
    """What later steps need of this answer, by name; never a URL that was picked."""
    dropped: int = 0
    """How many of the last answers with rows count no more: they will come in smaller parts."""


def answers_of(steps: Iterable[Step]) -> list[Step]:
    """Return the steps whose answers hold the rows of a request, in their order."""
    kept: list[Step] = []
    for step in steps:
        if step.dropped:
            del kept[-step.dropped :]
        if step.file:
            kept.append(step)
    return kept


class Grant(Record):
    """A part of a daily quota, taken before use; grants of one window add up."""

    v: Literal[1] = 1
    type: Literal["grant"] = "grant"
    scope: str
    window: str
    """Which day, or the start of the sliding window's slice."""
    units: int
    at: float


LedgerRecord = Annotated[End | Step | Grant, Field(discriminator="type")]
_ADAPTER: TypeAdapter[End | Step | Grant] = TypeAdapter(LedgerRecord)


def parse_ledger_record(data: bytes) -> End | Step | Grant:
    """Parse one record of a ledger; raises `InvalidMessageError`."""
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as error:
        raise InvalidMessageError(problems_of(error)) from None
