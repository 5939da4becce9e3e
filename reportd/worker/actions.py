"""What the engine asks of the worker's hands. Data only; `reportd.worker.loop` carries it out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reportd.broker.message import Message
from reportd.limits.limiter import ToRecord
from reportd.model.content import Content
from reportd.model.ledger import End, Step
from reportd.worker.entry import Entry
from reportd.worker.partition import Partition

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Restore:
    """Read the committed offsets and the ledger of a new partition, then call ``restored``."""

    partner: str
    partition: int


@dataclass(frozen=True, slots=True)
class Read:
    """Read a topic's partition from an offset."""

    at: TopicPartition
    offset: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading a topic's partition for now."""

    at: TopicPartition


@dataclass(frozen=True, slots=True)
class LookAt:
    """Look at receipts, complete temp files and spool files of a request; then ``looked``."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class StartCall:
    """Make the next call of a request; then ``answered`` or ``not_sent``."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Spool:
    """Store the answer of a many-call request durably; then ``spooled``."""

    entry: Entry
    body: Content = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finish:
    """Parse the answers and publish the files; then ``published`` or a failure."""

    entry: Entry
    body: Content = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteEnd:
    """Produce an end record; then ``end_confirmed`` with its offset in the ledger."""

    entry: Entry
    end: End


@dataclass(frozen=True, slots=True)
class WriteStep:
    """Produce a step record; then ``step_confirmed``."""

    entry: Entry
    step: Step


@dataclass(frozen=True, slots=True)
class WriteGrant:
    """Produce a grant of a quota; then ``granted``, and only then it is used."""

    partition: Partition
    grant: ToRecord


@dataclass(frozen=True, slots=True)
class WriteDead:
    """Produce the original bytes, with what happened in headers; then ``dead_confirmed``."""

    entry: Entry
    headers: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Forward:
    """Produce a message to the partition its key belongs to; then ``forwarded``."""

    message: Message
    key: str
    times: int
    """How often it has been, this time counted."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit offsets with their metadata; then ``committed``."""

    offsets: Mapping[TopicPartition, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Delete the spool of a request whose end is committed."""

    request_id: str
    replay: int


@dataclass(frozen=True, slots=True)
class Release:
    """A request is no longer in hand: it ended, or waits again."""

    request_id: str


Action = (
    Restore
    | Read
    | Pause
    | LookAt
    | StartCall
    | Spool
    | Finish
    | WriteEnd
    | WriteStep
    | WriteGrant
    | WriteDead
    | Forward
    | Commit
    | Sweep
    | Release
)
