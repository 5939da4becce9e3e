"""Runs as people name them, and what the topic ``runs`` says of them.

Used by ``reportctl runs``, ``wait``, ``rerun`` and ``dead``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from reportd.broker.message import Message
from reportd.enqueue.runs import RunState, fold
from reportd.errors import ConfigError, InvalidMessageError
from reportd.model.run import Finished, Manifest, RunId, RunRecord, parse_run_record

WANTED = "write it like daily/2026-11-22T04:00Z#1, or without #1 for the newest revision"


@dataclass(frozen=True, slots=True)
class RunName:
    """A run, or the newest revision of a slot."""

    first: RunId
    """Of the slot, with the revision that was named, or 1."""
    has_revision: bool

    @classmethod
    def parse(cls, text: str) -> "RunName":
        """Parse what a command was given; any instant with its offset will do for the slot."""
        name, sign, revision = text.partition("#")
        schedule, _, instant = name.partition("/")
        try:
            slot = datetime.fromisoformat(instant)
            if slot.tzinfo is None:
                raise ConfigError(f"{text}: the slot needs its offset: {instant}Z; {WANTED}")
            found = RunId(schedule, slot.astimezone(UTC), int(revision) if sign else 1)
            return cls(RunId.parse(str(found)), bool(sign))
        except (ValueError, InvalidMessageError):
            raise ConfigError(f"{text}: is no run's name; {WANTED}") from None

    def fits(self, run: RunId) -> bool:
        """Say whether it may be this one."""
        same = (run.schedule, run.slot) == (self.first.schedule, self.first.slot)
        return same and (not self.has_revision or run.revision == self.first.revision)

    def __str__(self) -> str:
        """Return it as it is written."""
        return str(self.first) if self.has_revision else str(self.first).partition("#")[0]


@dataclass(slots=True)
class KnownRuns:
    """What the topic says, so far."""

    records: list[RunRecord] = field(default_factory=list)

    def see(self, messages: Iterable[Message]) -> None:
        """Take more records; what does not parse is passed over."""
        for message in messages:
            try:
                self.records.append(parse_run_record(message.value))
            except InvalidMessageError:
                continue

    def states(self) -> dict[RunId, RunState]:
        """Return every run with its manifest or claim, the newest last."""
        found = fold(self.records)
        return {run: found[run] for run in sorted(found, key=lambda run: run.order)}

    def finished(self) -> dict[RunId, Finished]:
        """Return those that are over; one that was added to since is not."""
        over = {record.run: record for record in self.records if isinstance(record, Finished)}
        newest = {record.run: record for record in self.records if isinstance(record, Manifest)}
        return {
            RunId.parse(run): record
            for run, record in over.items()
            if run not in newest or newest[run].ids_hash == record.ids_hash
        }

    def named(self, name: RunName) -> RunId | None:
        """Return the newest run that a name fits."""
        fitting = [run for run in self.states() if name.fits(run)]
        return fitting[-1] if fitting else None
