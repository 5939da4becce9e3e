"""Partitions that nobody has although the group has settled, and who must join anew. Pure.

A member that dies after it gave partitions away in a cooperative rebalance, and before it joined
again, leaves them to nobody: the broker takes its successor back under the same name without a
rebalance, so they would wait for the next one, however long. Whoever leaves and joins makes one.
"""

from collections.abc import Set as AbstractSet

from reportd.broker.group import Group
from reportd.broker.message import Part

MARGIN_SECONDS = 10.0
"""Beyond the longest drain: so long a member that gives partitions away may take to join again."""


class Orphans:
    """What has had no owner since when. Every VM's observer sees the same group and so agrees."""

    def __init__(self, drain_seconds: float) -> None:
        """Wait for a drain of ``drain_seconds`` before anything is done."""
        self._patience_seconds = drain_seconds + MARGIN_SECONDS
        self._wait_seconds = self._patience_seconds
        self._since: float | None = None
        self.parts: frozenset[Part] = frozenset()
        """What has no owner now."""

    def look(self, group: Group, wanted: AbstractSet[Part], now: float) -> str:
        """Return the member that must join anew, by its instance id; empty: nobody must, now.

        The one with the fewest partitions, so that the fewest are interrupted. If that does not
        help, the next one is named after twice the time, and so on. ``now``: monotonic seconds.
        """
        if not group.settled:
            return ""
        self.parts = frozenset(wanted - frozenset().union(*group.members.values()))
        if not self.parts or not group.members:
            self._since, self._wait_seconds = None, self._patience_seconds
            return ""
        if self._since is None:
            self._since = now
        if now - self._since < self._wait_seconds:
            return ""
        self._since = now
        self._wait_seconds *= 2
        return min(group.members, key=lambda member: (len(group.members[member]), member))
