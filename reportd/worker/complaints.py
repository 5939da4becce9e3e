"""Why requests are held: for the log once a reason, for the snapshot at any time.

A wrong partner file holds everything, quietly and for hours: whoever wrote it must read why. So
must whoever looks after the output, but not once for each file that waits for it.
Used by the worker's loop. Pure but for the log.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from reportd.limits.limiter import Now
from reportd.worker.partition import Partition

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 600.0
"""While a reason lasts it is said again this often."""

OUTPUT_REPEAT_SECONDS = 60.0

Kind = tuple[str, str, str]
"""Partner, report, class of error: few, whatever partners answer."""


@dataclass(slots=True)
class Held:
    """Requests of one partner and report that are held for one class of error."""

    partner: str
    report: str
    reason: str
    """Of one of them, with its class."""
    account: str
    """Whose."""
    requests: int = 0


def held_in(partitions: Iterable[Partition]) -> dict[Kind, Held]:
    """Return what is held now, by kind."""
    found: dict[Kind, Held] = {}
    for partition in partitions:
        for entry in partition.held:
            request, reason = entry.request, entry.refusal
            kind = (request.partner, request.report, reason.partition(":")[0])
            one = found.setdefault(
                kind, Held(request.partner, request.report, reason[:500], request.account)
            )
            one.requests += 1
    return found


class Complaints:
    """Remembers what was said."""

    def __init__(self) -> None:
        """Have said nothing yet."""
        self._said: dict[Kind, float] = {}
        self._output_said = float("-inf")
        self._output_is_away = False

    def look_at_output(self, reason: str, now: Now) -> None:
        """Log why the output does not take files (empty: it does), once for all who wait for it."""
        if reason and now.mono - self._output_said >= OUTPUT_REPEAT_SECONDS:
            self._output_said = now.mono
            logger.warning("the output is away: %s", reason, extra={"action": "output_away"})
        if self._output_is_away and not reason:
            logger.info("the output takes files again", extra={"action": "output_back"})
        self._output_is_away = bool(reason)

    def look(self, partitions: Iterable[Partition], now: Now) -> None:
        """Log each kind that is new, or that has lasted since it was last said."""
        for kind, one in held_in(partitions).items():
            if now.mono - self._said.get(kind, float("-inf")) < REPEAT_SECONDS:
                continue  # also when it is tried again meanwhile, and fails in the same way
            self._said[kind] = now.mono
            logger.warning(
                "%s.%s: %d requests are held until it is known whether it is theirs alone; "
                "account %s: %s",
                one.partner,
                one.report,
                one.requests,
                one.account,
                one.reason,
                extra={
                    "action": "requests_held",
                    "partner": one.partner,
                    "report": one.report,
                    "account": one.account,
                },
            )
