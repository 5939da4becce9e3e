"""Claims a run in the topic ``runs``, waiting for whoever holds it.

Used by whatever enqueues: `reportd.enqueue.job` with Spark, `reportd.enqueue.rerun` without.
"""

import logging
from collections.abc import Callable, Sequence

from reportd.clock import Clock
from reportd.enqueue.lease import extended
from reportd.enqueue.runs import Done, Go, Holder, Starts, Wait, next_move
from reportd.enqueue.runs_topic import Cluster
from reportd.errors import ConfigError, UnavailableError
from reportd.model.run import Claim, Manifest, RunId

logger = logging.getLogger(__name__)

SKEW_SECONDS = 600.0
"""How far the broker's clock may be behind: a run is looked for from so long before its slot."""
PATIENCE_SECONDS = 3600.0
LOOK_SECONDS = 5.0


class TrimmedError(ConfigError):
    """A run's requests have been trimmed: what is missing cannot be told."""


def claim_of(run: RunId, holder: Holder, move: Go, starts: Starts, wall: float) -> Claim:
    """Return the claim of a run that nobody holds, from ``wall`` (epoch seconds) on."""
    claim = Claim(
        run=str(run),
        machine=holder.machine,
        claimed_at=0,
        expires_at=0,
        holder=holder.process,
        replaces=move.replaces,
        starts={topic: dict(parts) for topic, parts in starts.items()},
    )
    return extended(claim, wall)


class Claims:
    """One enqueuer's claims."""

    def __init__(
        self,
        cluster: Cluster,
        holder: Holder,
        *,
        clock: Clock,
        pause: Callable[[float], object],
        gone: Callable[[str], bool],
    ) -> None:
        """Take what it works with; ``pause`` waits for so many seconds."""
        self._cluster = cluster
        self._holder = holder
        self._clock = clock
        self._pause = pause
        self._gone = gone

    def claim(
        self, run: RunId, topics: Sequence[str], *, add: bool = False
    ) -> Done | tuple[str, Claim, Manifest | None]:
        """Claim a run that writes to some topics, after whoever holds it; or find it complete.

        Returns the key to renew it under (see `reportd.enqueue.lease.kept`), the claim, and the
        manifest that is there with ``add``. Raises `UnavailableError`, and `TrimmedError`.
        """
        until = self._clock.monotonic() + PATIENCE_SECONDS
        claim: Claim | None = None
        waited_for: Claim | None = None
        while True:
            state = self._cluster.states().get(run)
            before = state.manifest if state is not None else None
            # A claim beside a manifest must not take its place in the compacted topic
            key = str(run) if before is None else f"{run}+add"
            move = next_move(state, self._holder, self._clock.wall(), self._gone, add=add)
            match move:
                case Done():
                    return move
                case Go(mine=True) if claim is not None:
                    return key, claim, before
                case Go():
                    claim = self._new_claim(run, topics, move, before)
                    self._cluster.write(key, claim)
                case Wait():
                    if self._clock.monotonic() >= until:
                        raise UnavailableError(
                            f"{run}: still held by {move.claim.machine} after"
                            f" {PATIENCE_SECONDS / 60:.0f} minutes"
                        )
                    if waited_for is None:
                        logger.warning(
                            "%s: %s is enqueuing it; waiting for it to finish, or for its lease"
                            " to end",
                            run,
                            move.claim.machine,
                            extra={"action": "claim_waited_for"},
                        )
                    waited_for = move.claim
                    left = move.claim.expires_at - self._clock.wall()
                    self._pause(max(0.1, min(LOOK_SECONDS, left)))

    def _new_claim(
        self, run: RunId, topics: Sequence[str], move: Go, before: Manifest | None
    ) -> Claim:
        starts = self._starts(run, topics, move.starts, before)
        return claim_of(run, self._holder, move, starts, self._clock.wall())

    def _starts(
        self,
        run: RunId,
        topics: Sequence[str],
        known: Starts | None,
        before: Manifest | None,
    ) -> dict[str, dict[int, int]]:
        """Return from where the run's topics have to be read back."""
        begins = self._cluster.begins(topics)
        by_time = self._cluster.at(topics, run.slot.timestamp() - SKEW_SECONDS)
        spans = {span.topic: span.spans for span in before.topics} if before else {}
        starts: dict[str, dict[int, int]] = {}
        for topic, parts in begins.items():
            for number, begin in parts.items():
                start = by_time[topic][number]
                if known is not None and topic in known:
                    # A partition that was not there yet is read from its beginning
                    start = known[topic].get(number, 0)
                    kept_from = spans.get(topic, {}).get(number, (start, start))[0]
                    if begin > kept_from:
                        raise TrimmedError(
                            f"{run}: {topic}[{number}] is trimmed up to {begin}, and from"
                            f" {kept_from} on lie its requests: what it has asked already can no"
                            " longer be told"
                        )
                starts.setdefault(topic, {})[number] = max(start, begin)
        return starts
