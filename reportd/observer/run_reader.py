"""Reads what became of a run from the ledgers, once it seems to be over.

Used by `reportd.observer.finisher` in its thread. Each ledger partition is read from about the
moment of the run's first request on; records of other runs are passed over unparsed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from reportd.broker.admin import Admin
from reportd.broker.errors import OffsetOutOfRangeError
from reportd.broker.message import Message, Part
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.errors import InvalidMessageError, OutputError
from reportd.model.account import Account
from reportd.model.content import Scratch
from reportd.model.ledger import End, parse_ledger_record
from reportd.model.run import Manifest
from reportd.observer.run_file import lines_of, schedule_of
from reportd.observer.run_sum import NO_REQUEST, Missing, RunSum

CLOCKS_SECONDS = 60.0
"""How far apart the brokers' clocks may be."""
_LINES_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """What the ledgers say of a run."""

    total: RunSum
    files: Scratch
    """The list of its files."""


class RunReader:
    """Reads ledgers, and the accounts. Raises `BrokerError`; for one thread."""

    def __init__(self, reader: PartitionReader, admin: Admin, topics: Topics) -> None:
        """Share the clients."""
        self._reader = reader
        self._admin = admin
        self._topics = topics

    def read(self, manifest: Manifest) -> Found:
        """Read all ends of a run; raises `OutputError` when ``TMPDIR`` is full, too."""
        total, files, waiting = RunSum(manifest), _scratch(), bytearray()
        for partner, part, end in self._ends(manifest):
            if total.add(partner, part[1], end):
                waiting += lines_of(partner, end)
            if len(waiting) > _LINES_BYTES:
                _append(files, waiting)
        _append(files, waiting)
        return Found(total, files)

    def unasked(self, total: RunSum, run: str) -> list[Missing]:
        """Return for which accounts no request was made, as far as any was to be.

        If nobody can be named it is said all the same that some account's is missing.
        """
        wanted = total.unasked()
        found = []
        accounts = self._accounts(schedule_of(run)) if wanted else []
        for partner, report in wanted:
            first_day, last_day = total.range_of(partner, report) or ("", "")
            absent = [
                account.account
                for account in accounts
                if account.partner == partner
                and not total.asks_for(partner, report, account.account)
            ]
            found += [
                Missing(partner, report, account, first_day, last_day, NO_REQUEST)
                for account in absent or [""]
            ]
        return found

    def _accounts(self, schedule: str) -> list[Account]:
        """Return the active accounts of a schedule's table."""
        by_key: dict[bytes, Account] = {}
        for message in self._reader.read_all(self._topics.accounts):
            try:
                by_key[message.key or b""] = Account.from_json(message.value)
            except InvalidMessageError:
                continue
        return [one for one in by_key.values() if one.active and one.schedule == schedule]

    def _ends(self, manifest: Manifest) -> Iterator[tuple[str, Part, End]]:
        needle = orjson.dumps(manifest.run)
        for partner in self._partners(manifest):
            for part, start, end in self._parts(partner, manifest):
                for message in self._reader.read(part, start, end):
                    record = _end_in(message, needle)
                    if record is not None and record.run == manifest.run:
                        yield partner, part, record

    def _partners(self, manifest: Manifest) -> list[str]:
        found = (self._topics.parse(topic.topic) for topic in manifest.topics)
        return sorted({parsed[1] for parsed in found if parsed is not None})

    def _parts(self, partner: str, manifest: Manifest) -> Iterator[tuple[Part, int, int]]:
        """Yield each partition of a ledger with the span in which the run's ends lie."""
        ledger = self._topics.ledger(partner)
        since = self._since(partner, manifest) - CLOCKS_SECONDS
        parts = [(ledger, number) for number in range(self._reader.partitions(ledger))]
        starts = self._admin.offsets_for_times(dict.fromkeys(parts, since))
        for part in parts:
            low, high = self._reader.watermarks(part)
            start = starts[part]
            yield part, high if start is None else max(low, start), high

    def _since(self, partner: str, manifest: Manifest) -> float:
        """Return when the first of a partner's requests was written."""
        found = float("inf")
        for topic in manifest.topics:
            if topic.topic not in {self._topics.requests(partner), self._topics.backfill(partner)}:
                continue
            for number, (first, _) in topic.spans.items():
                try:
                    for message in self._reader.read((topic.topic, number), first, first + 1):
                        found = min(found, message.timestamp)
                except OffsetOutOfRangeError:  # trimmed: long over
                    return 0.0
        return found if found < float("inf") else 0.0


def _end_in(message: Message, needle: bytes) -> End | None:
    if needle not in message.value:
        return None
    try:
        record = parse_ledger_record(message.value)
    except InvalidMessageError:
        return None
    return record if isinstance(record, End) else None


def _scratch() -> Scratch:
    try:
        return Scratch()
    except OSError as error:
        raise OutputError(f"temporary files: {error.strerror}") from error


def _append(files: Scratch, waiting: bytearray) -> None:
    try:
        files.append(bytes(waiting))
    except OSError as error:
        raise OutputError(f"temporary files: {error.strerror}") from error
    waiting.clear()
