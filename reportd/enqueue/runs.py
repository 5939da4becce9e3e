"""Who enqueues which slot: claims, manifests, and what follows from them.

Pure: the records of the topic ``runs`` go in, the next move comes out. Used by
`reportd.enqueue.job`; the topic itself is `reportd.enqueue.runs_topic`'s.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from reportd.model.run import Claim, Manifest, RunId, RunRecord

LEASE_SECONDS = 600.0

Starts = Mapping[str, Mapping[int, int]]
"""Topic and partition -> the offset before which nothing of a run can lie."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An enqueuer: a process of a machine."""

    machine: str
    process: str
    """Names one process for ever: boot, pid, start time."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What the topic says of one run."""

    run: RunId
    manifest: Manifest | None = None
    claim: Claim | None = None
    """The claim that counts: of two that overlap, the first in the topic."""
    starts: Starts | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Complete: nothing is to be done."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Wait:
    """Another enqueuer is at it: look again, at the latest when its lease ends."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Go:
    """Claim it (again, when it is one's own) and enqueue what is not there yet."""

    starts: Starts | None
    """From where to read back; None: nothing is known of this run."""
    replaces: str = ""
    """The holder that is gone, whose claim this takes over."""
    mine: bool = False
    """The claim in the topic is one's own and counts."""


def fold(records: Iterable[RunRecord]) -> dict[RunId, RunState]:
    """Return the state of every run; the records come in the topic's order."""
    states: dict[RunId, RunState] = {}
    for record in records:
        if not isinstance(record, Claim | Manifest):
            continue
        run = RunId.parse(record.run)
        state = states.get(run, RunState(run))
        starts = earliest(state.starts, record.starts)
        if isinstance(record, Manifest):
            states[run] = replace(state, manifest=record, claim=None, starts=starts)
            continue
        counts = state.claim is None or _follows(state.claim, record)
        states[run] = replace(state, claim=record if counts else state.claim, starts=starts)
    return states


def _follows(held: Claim, claim: Claim) -> bool:
    """Whether a claim counts although another stands before it in the topic."""
    renewed = (held.machine, held.holder) == (claim.machine, claim.holder)
    taken_over = held.machine == claim.machine and held.holder == claim.replaces
    return renewed or taken_over or claim.claimed_at >= held.expires_at


def earliest(one: Starts | None, other: Starts) -> Starts | None:
    """Return the earlier offset of each partition that either knows."""
    if not other:
        return one
    if one is None:
        return other
    return {
        topic: {
            partition: min(
                side[topic][partition] for side in (one, other) if partition in side.get(topic, {})
            )
            for partition in sorted({*one.get(topic, {}), *other.get(topic, {})})
        }
        for topic in sorted({*one, *other})
    }


def next_move(
    state: RunState | None,
    me: Holder,
    now: float,
    gone: Callable[[str], bool] = lambda _process: False,
    *,
    add: bool = False,
) -> Done | Wait | Go:
    """Say what ``me`` does about a run at ``now`` (epoch seconds).

    ``gone`` tells of a process of this machine whether it has ended: no one waits for it. With
    ``add`` a complete run is enqueued once more, for what its accounts have gained.
    """
    if state is None:
        return Go(None)
    if state.manifest is not None and not add:
        return Done(state.manifest)
    claim = state.claim
    if claim is None or now >= claim.expires_at:
        return Go(state.starts)
    if claim.machine == me.machine:
        if claim.holder == me.process:
            return Go(state.starts, mine=True)
        if gone(claim.holder):
            return Go(state.starts, replaces=claim.holder)
    return Wait(claim)


def due_slots(
    slots: Sequence[datetime], states: Mapping[RunId, RunState], schedule: str, most: int
) -> list[datetime]:
    """Return which of a schedule's passed slots to enqueue, oldest first.

    ``slots`` are ascending and end with the newest. Due are those since the last manifest, and
    those that were claimed and never finished; of them all the ``most`` newest. A schedule that
    was never enqueued begins with its newest slot.
    """
    own = {run.slot: state for run, state in states.items() if run.schedule == schedule}
    complete = [slot for slot, state in own.items() if state.manifest is not None]
    window = slots[-max(1, most) :]
    since = [slot for slot in window if slot > max(complete)] if complete else window[-1:]
    unfinished = [slot for slot in window if slot in own and own[slot].manifest is None]
    return sorted({*since, *unfinished})
