"""How requests end: end record confirmed, then (dead ones) the copy confirmed, then closed.

Used by the engine in the worker's loop. Pure.
"""

from collections import deque
from collections.abc import Callable

from reportd.broker.message import Message
from reportd.limits.limiter import Now
from reportd.model.ledger import End, EndState, PublishedFile
from reportd.worker.actions import Action, Sweep, WriteDead, WriteEnd
from reportd.worker.entry import Entry, State
from reportd.worker.ledger import KnownEnd
from reportd.worker.partition import Partition, SpoolLeft

SAMPLE_BYTES = 4096
REASON_CHARACTERS = 2000


class Endings:
    """Writes ends and dead letters, closes offsets, sweeps what finished requests left."""

    def __init__(
        self, out: deque[Action], no_longer_busy: Callable[[Partition, Entry], None]
    ) -> None:
        """Share the engine's outbox."""
        self._out = out
        self._no_longer_busy = no_longer_busy

    def end(
        self,
        partition: Partition,
        entry: Entry,
        state: EndState,
        now: Now,
        *,
        files: tuple[PublishedFile, ...] = (),
        reason: str = "",
        stands_for: str | None = None,
    ) -> None:
        """Write the end record of a request; it stays open until that is confirmed."""
        entry.ended = True
        entry.state = State.ENDING
        partition.held.pop(entry, None)
        partition.paused.pop(entry, None)
        partition.busy[entry] = None
        request = entry.request
        end = End(
            id=request.id,
            stands_for=stands_for,
            replay=entry.replay,
            topic=entry.message.topic,
            offset=entry.message.offset,
            state=state,
            run=request.run,
            account=request.account,
            report=request.report,
            first_day=request.first_day.isoformat(),
            last_day=request.last_day.isoformat(),
            files=files,
            rows=sum(file.rows for file in files),
            calls=entry.calls,
            started_at=entry.started_at or now.wall,
            ended_at=now.wall,
            reason=reason[:REASON_CHARACTERS],
        )
        self._out.append(WriteEnd(entry, end))

    def write_dead(self, partition: Partition, entry: Entry, end: End, position: int) -> None:
        """Copy a dead request to the dead letters, its original bytes as they were."""
        error, _, reason = end.reason.partition(": ")
        # R must not pass this end while its offset is open: a new owner would call again
        book = partition.books[entry.message.topic]
        partition.image.need(position, book, entry.message.offset)
        partition.busy[entry] = None
        entry.ended = True
        headers = {
            "error": error.encode(),
            "reason": reason.encode(),
            "attempts": str(end.calls).encode(),
            "sample": entry.sample[:SAMPLE_BYTES],
            "id": end.id.encode(),
            "replay": str(end.replay).encode(),
            "topic": entry.message.topic.encode(),
            "partition": str(entry.message.partition).encode(),
            "offset": str(entry.message.offset).encode(),
            "run": end.run.encode(),
            "account": end.account.encode(),
            "report": end.report.encode(),
        }
        if entry.answer:
            headers["answer"] = entry.answer.encode()
        self._out.append(WriteDead(entry, headers))

    def close_entry(self, partition: Partition, entry: Entry, known: KnownEnd) -> None:
        """Close a request and its copies; its end stands in the ledger at a known position."""
        self._no_longer_busy(partition, entry)
        partition.entries.pop(entry.identity, None)
        partition.window_bytes -= len(entry.message.value)
        if entry.steps or entry.generation:
            book = partition.books[entry.message.topic]
            partition.spools.append(SpoolLeft(book, entry.message.offset, entry.identity))
        self.close(partition, entry.message, known)
        for copy in entry.copies:
            self.close(partition, copy, known)

    def close(self, partition: Partition, message: Message, known: KnownEnd) -> None:
        """Close one offset; its end stays needed until the commit has passed it."""
        book = partition.books[message.topic]
        partition.image.need(known.position, book, message.offset)
        book.close(message.offset)

    def sweep(self, partition: Partition) -> None:
        """Delete the spools of requests that the last accepted commit has closed."""
        left = []
        for spool in partition.spools:
            if spool.book.committed > spool.offset:
                self._out.append(Sweep(*spool.identity))
            else:
                left.append(spool)
        partition.spools = left
