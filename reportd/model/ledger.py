"""The records of ``ledger.<partner>``: end, step, grant. One partition belongs to one worker."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from reportd.errors import InvalidMessageError
from reportd.model.base import Record, problems_of

EndState = Literal["result", "dead", "superseded", "cancelled"]


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


class End(Record):
    """A request's terminal state. The first end of (id, replay) wins."""

    v: Literal[1] = 1
    type: Literal["end"] = "end"
    id: str
    replay: int = 0
    """0, or which replay of the dead letter this was: a replay is not ended by its first life."""
    topic: str
    offset: int
    state: EndState
    run: str = ""
    account: str = ""
    report: str = ""
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
    """What the flow goes on from: page number, cursor, next URL's path and query, report id."""
    file: str
    """The spool file, relative to the staging root."""
    bytes: int
    checksum: str
    calls: int = 0


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
