"""The group's progress as the broker sees it: ends, commits, lag, of all VMs' partitions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reportd.broker.message import Part
from reportd.broker.reader import Committed
from reportd.broker.topics import Topics


class Cluster(Protocol):
    """What is asked of the broker (`reportd.broker.admin.Admin`); each call may raise BrokerError.

    Blocking, each call for at most the client's timeout.
    """

    def topics(self) -> dict[str, int]: ...  # noqa: D102  # see Admin
    def group_offsets(self, group: str) -> dict[Part, Committed]: ...  # noqa: D102
    def begin_offsets(self, parts: Iterable[Part]) -> dict[Part, int]: ...  # noqa: D102
    def end_offsets(self, parts: Iterable[Part]) -> dict[Part, int]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Lag:
    """One partition of a requests or backfill topic."""

    partner: str
    start: int
    """The commit, or without one the first offset kept."""
    end: int

    @property
    def lag(self) -> int:
        """Offsets not committed."""
        return max(0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Offsets:
    """One look at the broker."""

    lags: Mapping[Part, Lag] = field(default_factory=dict)

    def partners(self) -> set[str]:
        """Return the partners that have topics."""
        return {lag.partner for lag in self.lags.values()}


def look(cluster: Cluster, topics: Topics, group: str) -> Offsets:
    """Ask the broker; raises `BrokerError`."""
    partner_of: dict[Part, str] = {}
    for name, count in cluster.topics().items():
        found = topics.parse(name)
        if found is not None and found[0] != "ledger":
            partner_of |= {(name, number): found[1] for number in range(count)}
    ends = cluster.end_offsets(partner_of)
    commits = cluster.group_offsets(group)
    starts = {part: commits[part].offset for part in partner_of if part in commits}
    known = {part: offset for part, offset in starts.items() if offset is not None}
    begins = cluster.begin_offsets([part for part in partner_of if part not in known])
    return Offsets(
        {
            part: Lag(partner, known.get(part, begins.get(part, 0)), ends[part])
            for part, partner in partner_of.items()
            if part in ends
        }
    )
