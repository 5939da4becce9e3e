"""Keeps a claim alive while its run is enqueued, and lets go of it when that fails."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from reportd.clock import Clock
from reportd.enqueue.runs import LEASE_SECONDS
from reportd.errors import BrokerError
from reportd.model.run import Claim

logger = logging.getLogger(__name__)


@contextmanager
def kept(
    claim: Claim,
    write: Callable[[Claim], None],
    clock: Clock,
    every_seconds: float = LEASE_SECONDS / 3,
) -> Iterator[None]:
    """Renew a claim from a thread of its own; free it at once if the work fails.

    An enqueuer that was stopped for longer than its lease renews no more: another may have
    begun, and its manifest must not be hidden.
    """
    done = threading.Event()

    def renew() -> None:
        ends = clock.boottime() + LEASE_SECONDS
        while not done.wait(every_seconds):
            if clock.boottime() >= ends:
                logger.warning("lost the claim of %s", claim.run, extra={"action": "claim_lost"})
                return
            begun = clock.boottime()
            try:
                write(extended(claim, clock.wall()))
            except BrokerError as error:
                logger.warning(
                    "cannot renew the claim: %s", error, extra={"action": "claim_not_renewed"}
                )
            else:
                ends = begun + LEASE_SECONDS

    keeper = threading.Thread(target=renew, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    except BaseException:
        _end(done, keeper)
        with suppress(BrokerError):
            write(claim.model_copy(update={"expires_at": clock.wall()}))
        raise
    _end(done, keeper)


def extended(claim: Claim, now: float) -> Claim:
    """Return the claim with a whole lease from ``now`` on."""
    return claim.model_copy(update={"claimed_at": now, "expires_at": now + LEASE_SECONDS})


def _end(done: threading.Event, keeper: threading.Thread) -> None:
    done.set()
    keeper.join()
