"""Which worker has a partition when: VMs that join, leave and die all day. Pure, seeded."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

SESSION_SECONDS = 45.0
"""How long a dead VM's partitions wait for it."""
RESTART_SECONDS = 1.0
"""From a worker's death to its successor."""
HANDOVER_SECONDS = 2.0
"""From giving away, drained, to the next owner."""
EVENT_SECONDS = 1200.0
"""Something happens to the fleet that often, on average."""
MOST_VMS = 20


@dataclass(frozen=True, slots=True)
class Tenure:
    """One owner's time with one partition, in seconds of the day."""

    start: float
    end: float
    crashed: bool
    """Whether it ended without a word; else it was drained and committed."""


@dataclass
class Fleet:
    """What happened to the VMs, and what that made of each partition's day."""

    tenures: list[list[Tenure]]
    events: Counter[str] = field(default_factory=Counter)
    vms_least: int = MOST_VMS
    vms_most: int = 0


def fleet(partitions: int, seconds: float, random: Random) -> Fleet:
    """Play a fleet of 1 to 20 VMs for ``seconds``."""
    made = Fleet([[] for _ in range(partitions)])
    vms = set(range(random.randint(1, 4)))
    owners = dict.fromkeys(range(partitions), -1)
    since = dict.fromkeys(range(partitions), 0.0)
    _deal(owners, vms)
    now = 0.0
    while (now := now + random.expovariate(1.0 / EVENT_SECONDS)) < seconds:
        made.vms_least, made.vms_most = min(made.vms_least, len(vms)), max(made.vms_most, len(vms))
        kind = random.choice(_possible(len(vms)))
        made.events[kind] += 1
        before = dict(owners)
        gone = -1
        if kind == "joins":
            vms.add(min(set(range(MOST_VMS)) - vms))
            _deal(owners, vms)
        elif kind == "worker killed":
            number = random.randrange(partitions)
            _over(made, number, since, now, now + RESTART_SECONDS, crashed=True)
        else:
            gone = random.choice(sorted(vms))
            vms.remove(gone)
            _deal(owners, vms)
        for number, owner in before.items():
            if owners[number] != owner:
                crashed = owner == gone and kind == "dies"
                pause = SESSION_SECONDS if crashed else HANDOVER_SECONDS
                _over(made, number, since, now, now + pause, crashed=crashed)
    for number, tenures in enumerate(made.tenures):
        tenures.append(Tenure(since[number], float("inf"), crashed=False))
    return made


def _possible(count: int) -> list[str]:
    """Return what may happen to so many VMs: one is left, twenty are the most."""
    kinds = ["worker killed"]
    if count > 1:
        kinds += ["leaves", "dies"]
    if count < MOST_VMS:
        kinds += ["joins", "joins", "joins"] if count < 4 else ["joins", "joins"]
    return kinds


def _deal(owners: dict[int, int], vms: set[int]) -> None:
    """Give every VM its share, moving as little as a sticky assignment does."""
    most = -(-len(owners) // len(vms))
    counts = Counter(owner for owner in owners.values() if owner in vms)
    for number, owner in sorted(owners.items()):
        if owner in vms and counts[owner] <= most:
            continue
        counts[owner] -= 1
        owners[number] = min(sorted(vms), key=lambda vm: counts[vm])
        counts[owners[number]] += 1


def _over(
    made: Fleet,
    number: int,
    since: dict[int, float],
    now: float,
    next_at: float,
    *,
    crashed: bool,
) -> None:
    """End a tenure; one that has not begun yet begins later."""
    if now > since[number]:
        made.tenures[number].append(Tenure(since[number], now, crashed))
    since[number] = max(next_at, since[number])
