"""Enqueues a run once more, as its slot's next revision: the same requests, from the topics.

No accounts table, no Spark: what is asked for is read back by the manifest's offsets, and written
behind, each into the partition of its key and in the order it had there. Used by ``reportctl
rerun``.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from reportd.broker.keys import partition_of
from reportd.broker.message import Message, Part
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.clock import Clock
from reportd.enqueue.claims import Claims, TrimmedError
from reportd.enqueue.lease import kept
from reportd.enqueue.run_requests import Watch, requests_of_run
from reportd.enqueue.runs import Done, RunState
from reportd.enqueue.runs_topic import BrokerCluster
from reportd.errors import BrokerError, ConfigError
from reportd.model.id_set import IdSet, number_of
from reportd.model.request import Request
from reportd.model.run import Claim, Manifest, RunId, TopicSpan

logger = logging.getLogger(__name__)

CONFIRM_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rerun:
    """What is to be done: the run that is taken, and the one that it becomes."""

    source: Manifest
    target: RunId


def planned(states: Mapping[RunId, RunState], run: RunId | None, slot: RunId) -> Rerun:
    """Return what a rerun of a run comes to, or of its slot's newest revision.

    ``slot`` is any revision of it. A rerun that was begun and not finished is gone on with. Raises
    `ConfigError` if there is no such run.
    """
    of_slot = {
        state.run.revision: state
        for state in states.values()
        if (state.run.schedule, state.run.slot) == (slot.schedule, slot.slot)
    }
    complete = [revision for revision, state in of_slot.items() if state.manifest is not None]
    wanted = run.revision if run is not None else max(complete, default=0)
    source = of_slot[wanted].manifest if wanted in of_slot else None
    if source is None:
        raise ConfigError(f"{run or slot}: there is no such run; see 'reportctl runs'")
    newest = max(of_slot)
    revision = newest + 1 if newest in complete else newest
    return Rerun(source, slot._replace(revision=revision))


@dataclass(slots=True)
class _Written:
    """Requests of the new run that lie in the topics."""

    ids: IdSet = field(default_factory=IdSet)
    counts: dict[str, int] = field(default_factory=dict)
    spans: dict[Part, tuple[int, int]] = field(default_factory=dict)

    def lies(self, part: Part, offset: int) -> None:
        first, end = self.spans.get(part, (offset, offset + 1))
        self.spans[part] = min(first, offset), max(end, offset + 1)

    def topics(self) -> list[TopicSpan]:
        return [
            TopicSpan(
                topic=topic,
                requests=count,
                spans={n: span for (name, n), span in sorted(self.spans.items()) if name == topic},
            )
            for topic, count in sorted(self.counts.items())
        ]


class Rerunner:
    """Does it; raises `BrokerError`, and `TrimmedError` when the requests are no longer there."""

    def __init__(
        self,
        cluster: BrokerCluster,
        claims: Claims,
        reader: PartitionReader,
        producer: Producer,
        clock: Clock,
        watch: Watch,
    ) -> None:
        """Take what it works with; ``watch`` shows how far reading is."""
        self._cluster = cluster
        self._claims = claims
        self._reader = reader
        self._producer = producer
        self._clock = clock
        self._watch = watch

    def run(self, rerun: Rerun) -> Manifest:
        """Claim the new run, write what is not there yet, and its manifest."""
        topics = [topic.topic for topic in rerun.source.topics]
        claimed = self._claims.claim(rerun.target, topics)
        if isinstance(claimed, Done):  # somebody else has just done it
            return claimed.manifest
        key, claim, _ = claimed

        def write(claim: Claim) -> None:
            self._cluster.write(key, claim)

        with kept(claim, write, self._clock):
            written = self._there(rerun, claim)
            self._write(rerun, written)
        manifest = self._manifest(rerun, written, claim)
        self._cluster.write(str(rerun.target), manifest)
        logger.info(
            "%s: %d requests, as %s",
            rerun.target,
            manifest.requests,
            rerun.source.run,
            extra={"action": "run_enqueued"},
        )
        return manifest

    def _there(self, rerun: Rerun, claim: Claim) -> _Written:
        """Find what one that was killed has written: it lies behind the run that is taken."""
        written = _Written()
        behind = {
            (topic.topic, number): end
            for topic in rerun.source.topics
            for number, (_, end) in topic.spans.items()
        }
        for topic, parts in claim.starts.items():
            for number, start in parts.items():
                part = (topic, number)
                _, high = self._reader.watermarks(part)
                start_at = max(start, behind.get(part, 0))
                for message, request in self._requests(part, start_at, high, str(rerun.target)):
                    if written.ids.add(number_of(request.id)):
                        written.counts[topic] = written.counts.get(topic, 0) + 1
                    written.lies(part, message.offset)
        return written

    def _write(self, rerun: Rerun, written: _Written) -> None:
        seen = IdSet()
        failures: list[BrokerError] = []
        for topic in rerun.source.topics:
            partitions = self._reader.partitions(topic.topic)
            for number, (first, end) in sorted(topic.spans.items()):
                part = (topic.topic, number)
                self._check_kept(rerun, part, first)
                for message, request in self._requests(part, first, end, rerun.source.run):
                    if seen.add(number_of(request.id)):
                        self._send(rerun, message, partitions, written, failures)
        left = self._producer.flush(CONFIRM_SECONDS)
        if failures:
            raise failures[0]
        if left:
            raise BrokerError(f"{left} requests are not confirmed; start it again")
        if (len(seen), seen.hash) != (rerun.source.requests, rerun.source.ids_hash):
            raise TrimmedError(
                f"{rerun.source.run}: {len(seen)} of its {rerun.source.requests} requests can be"
                " read: topics were changed by hand"
            )

    def _check_kept(self, rerun: Rerun, part: Part, first: int) -> None:
        low, _ = self._reader.watermarks(part)
        if low > first:
            raise TrimmedError(
                f"{rerun.source.run}: {part[0]}[{part[1]}] is trimmed up to {low}, and from {first}"
                " on lie its requests; enqueue its slot by the schedule instead"
            )

    def _send(
        self,
        rerun: Rerun,
        message: Message,
        partitions: int,
        written: _Written,
        failures: list[BrokerError],
    ) -> None:
        document = {**orjson.loads(message.value), "run": str(rerun.target), "id": ""}
        request = Request.model_validate(document)
        if not written.ids.add(number_of(request.id)):
            return
        written.counts[message.topic] = written.counts.get(message.topic, 0) + 1
        number = (
            partition_of(message.key, partitions)
            if message.key is not None
            else message.partition % partitions
        )

        def done(offset: int | BrokerError) -> None:
            if isinstance(offset, BrokerError):
                failures.append(offset)
            else:
                written.lies((message.topic, number), offset)

        self._producer.send(
            message.topic,
            orjson.dumps({**document, "id": request.id}),
            key=message.key,
            partition=number,
            on_done=done,
        )
        self._producer.poll()

    def _requests(
        self, part: Part, start: int, end: int, run: str
    ) -> Iterator[tuple[Message, Request]]:
        records = self._reader.read(part, start, end)
        watched = self._watch(records, end - start, f"{part[0]}[{part[1]}]")
        return requests_of_run(watched, run)

    def _manifest(self, rerun: Rerun, written: _Written, claim: Claim) -> Manifest:
        now, deadline = self._clock.wall(), rerun.source.deadline
        return Manifest(
            run=str(rerun.target),
            requests=len(written.ids),
            ids_hash=written.ids.hash,
            topics=written.topics(),
            account_days=rerun.source.account_days,
            deadline=deadline if deadline is not None and deadline > now else None,
            enqueued_at=now,
            starts=claim.starts,
        )
