"""The output as one worker uses it: looks, spool, parse and publish. Used by the store threads."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from reportd.clock import Clock
from reportd.errors import FencedError, OutputError, UnexpectedAnswerError
from reportd.model.content import Content
from reportd.model.ledger import PublishedFile, Step, answers_of
from reportd.model.request import Request
from reportd.partners.body import Body
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.redaction import redacted, redacted_reason, without_secrets
from reportd.sinks.folders import output_errors
from reportd.sinks.publish import Prepared, Published, Publisher
from reportd.sinks.spool import Spool
from reportd.worker.entry import Entry
from reportd.worker.fence import Fence
from reportd.worker.finishing import Outcome
from reportd.worker.partition import Looked, Misfit

logger = logging.getLogger(__name__)

KEPT_MOST_BYTES = 8 * 1024 * 1024
"""As much is kept of an answer that nobody understood."""


class Output:
    """Stores for all partners of a worker, behind its fence."""

    def __init__(
        self,
        *,
        partners: Mapping[str, Partner],
        publisher: Publisher,
        spool: Spool,
        fence: Fence,
        clock: Clock,
        secrets_of: Callable[[Request], Collection[str] | None],
        publish_seconds: float = 0.0,
    ) -> None:
        """Take an open store's publisher and spool, and its `OutputRoot.publish_seconds`.

        ``secrets_of`` tells the secrets of a request's calls, or None: it cannot.
        """
        self._partners = partners
        self._publisher = publisher
        self._spool = spool
        self._fence = fence
        self._clock = clock
        self._secrets_of = secrets_of
        self._publish_seconds = publish_seconds

    def look(self, entry: Entry) -> Looked:
        """Say what stands there for a request; publishes its complete temp files."""
        request = self._completed(entry)
        found = self._publisher.look(
            request, self._publisher.targets(request), self._guard(entry), replay=entry.replay
        )
        if found.kind == "mine":
            return Looked(files=found.published.files)
        if found.kind == "newer":
            return Looked(newer_run=found.published.run)
        return Looked(spool_fits=all(self._fits(step) for step in entry.steps if step.file))

    def spool(self, entry: Entry, body: Content) -> tuple[str, int, str]:
        """Store one answer durably: file, size in bytes, checksum."""
        self._guard(entry)()
        stored = self._spool.write(
            entry.request.id, entry.replay, entry.generation, len(entry.steps) + 1, body
        )
        return stored.file, stored.size_bytes, stored.checksum

    def prepare(self, entry: Entry, body: Content) -> Prepared:
        """Parse the answers and stage the files, for `publish_all`."""
        request = self._completed(entry)
        partner = self._partners[request.partner]
        now = self._clock.wall()
        with output_errors("TMPDIR"):
            tables = to_tables(partner, request, self._contents(entry, body), now)
        if partner.reports[request.report].spec.rows_expected and not any(
            rows.num_rows for rows in tables.values()
        ):
            raise UnexpectedAnswerError("no rows, and the report says rows_expected")
        return self._publisher.prepare(
            request,
            self._publisher.targets(request),
            tables,
            self._guard(entry),
            replay=entry.replay,
            provisional=provisional_days(partner, entry, now),
        )

    def publish_all(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        """Publish what was prepared; return each one's files, or what was raised for it."""
        return [
            one if isinstance(one, Exception) else _outcome(one)
            for one in self._publisher.publish_all(prepared)
        ]

    def sweep(self, request_id: str, replay: int) -> None:
        """Delete a request's spool."""
        self._spool.remove(request_id, replay)

    def misfit(self, entry: Entry, reason: str, body: Content) -> Misfit:
        """Keep an answer that does not fit; say why, without the secrets it was asked with."""
        request = entry.request
        secrets = self._secrets_of(request)
        if secrets is None:
            return Misfit("it does not fit; not shown: the secrets to be hidden are not known now")
        answer = Body(body, self._partners[request.partner].reports[request.report].spec)
        return Misfit(
            reason=redacted_reason(reason, secrets),
            sample=redacted(answer.text(), secrets),
            answer=self._kept(entry, without_secrets(answer.head(KEPT_MOST_BYTES), secrets)),
        )

    def _contents(self, entry: Entry, body: Content) -> Iterator[Content]:
        """Yield the answers, each read when its turn comes."""
        for step in answers_of(entry.steps):
            yield self._spool.read(step.file, step.checksum)
        yield body

    def _kept(self, entry: Entry, body: bytes) -> str:
        try:
            return self._spool.keep(entry.request.id, entry.replay, body)
        except OutputError as error:
            logger.warning(
                "an answer that nobody understood is not kept: %s",
                error,
                extra={"action": "answer_not_kept", **entry.request.log_fields()},
            )
            return ""

    def _completed(self, entry: Entry) -> Request:
        """Return the request with its parameters' defaults: paths name them all."""
        return self._partners[entry.request.partner].completed(entry.request)

    def _fits(self, step: Step) -> bool:
        return self._spool.fits(step.file, step.bytes, step.checksum)

    def _guard(self, entry: Entry) -> Callable[[], None]:
        def guard() -> None:
            done_at = self._clock.boottime() + self._publish_seconds
            if not entry.alive() or not self._fence.is_open(done_at):
                raise FencedError("the lease on the partition has run out")

        return guard


def _outcome(published: Published) -> tuple[tuple[PublishedFile, ...], str]:
    return published.files, published.run if published.all_superseded else ""


def provisional_days(partner: Partner, entry: Entry, now_wall: float) -> frozenset[date]:
    """Return the days that may still change: their restatement time is not over."""
    request = entry.request
    zone = ZoneInfo(request.timezone)
    today = datetime.fromtimestamp(now_wall, zone).date()
    first = today - timedelta(days=partner.spec.restatement_days)
    return frozenset(day for day in request.days() if day >= first)
