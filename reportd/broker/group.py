"""The consumer group as its coordinator sees it."""

from collections.abc import Mapping
from dataclasses import dataclass

from reportd.broker.message import Part


@dataclass(frozen=True, slots=True)
class Group:
    """One look: who has what, by instance id; members without one (no worker of ours) left out."""

    settled: bool
    """No rebalance is under way. While a member gives partitions away it says so, too."""
    members: Mapping[str, frozenset[Part]]
