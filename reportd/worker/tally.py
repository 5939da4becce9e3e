"""Counts what a worker does, by partner. Used from the loop and from the executor's threads."""

from collections.abc import Iterable
from typing import get_args

from reportd.metrics import Metrics
from reportd.model.ledger import End, EndState
from reportd.partners.verdict import Outcome
from reportd.transport.exchange import Answer, Failure
from reportd.worker.entry import Entry


class Tally:
    """The worker's one place that knows which event counts in which metric."""

    def __init__(self, metrics: Metrics, partners: Iterable[str] = ()) -> None:
        """Count into this process's metrics.

        What alerts look at is there from the start, as 0: Prometheus sees no increase in the first
        value of a series.
        """
        self._metrics = metrics
        for partner in partners:
            metrics.calls.expect(partner, Outcome.OK)
            for state in get_args(EndState):
                metrics.requests_ended.expect(partner, state)

    def called(self, partner: str, outcome: Outcome, answer: Answer | Failure) -> None:
        """Count one call."""
        self._metrics.calls.inc(partner, outcome)
        self._metrics.call_seconds.observe(answer.seconds, partner)
        if isinstance(answer, Answer):
            self._metrics.answer_bytes.inc(partner, by=len(answer.body))

    def token_asked(self, partner: str, outcome: str) -> None:
        """Count one request to a token server."""
        self._metrics.token_requests.inc(partner, outcome)

    def ended(self, entry: Entry, end: End) -> None:
        """Count a confirmed end, its files and rows."""
        partner = entry.request.partner
        self._metrics.requests_ended.inc(partner, end.state)
        if end.state == "result" and not end.calls:
            self._metrics.receipts_found.inc(partner)
        if end.files:
            self._metrics.rows.inc(partner, by=end.rows)
            self._metrics.file_bytes.inc(partner, by=sum(file.bytes for file in end.files))
            for file in end.files:
                self._metrics.files.inc(partner, file.format)
        if end.calls:
            self._metrics.request_seconds.observe(end.ended_at - end.started_at, partner)

    def forwarded(self, partner: str) -> None:
        """Count a message that was in the wrong partition."""
        self._metrics.forwarded.inc(partner)

    def committed(self, *, accepted: bool) -> None:
        """Count a commit."""
        self._metrics.commits.inc("accepted" if accepted else "failed")

    def rebalanced(self, event: str) -> None:
        """Count a rebalance event."""
        self._metrics.rebalances.inc(event)
