"""When and what to commit: changed offsets every second, all of them every ten.

Used by the engine in the worker's loop. One commit is under way at a time. Pure.
"""

from collections.abc import Iterable, Mapping

from reportd.limits.limiter import Now
from reportd.worker.actions import Commit, TopicPartition
from reportd.worker.fence import Fence
from reportd.worker.partition import Partition
from reportd.worker.settings import EngineSettings


class Commits:
    """Sends the commits' contents, and moves the fence when the broker has taken one."""

    def __init__(self, settings: EngineSettings, fence: Fence) -> None:
        """Share the worker's fence."""
        self._settings = settings
        self._fence = fence
        self._all_seconds = min(settings.commit_all_seconds, fence.lease_seconds / 3)
        self._sent: Mapping[TopicPartition, tuple[int, str]] = {}
        self._sent_at: float | None = None
        self._sent_mono = 0.0
        self._next_at = 0.0
        self._next_all_at = 0.0

    def hurry(self) -> None:
        """Commit at the next opportunity: a partition was restored."""
        self._next_at = self._next_all_at = 0.0

    def due(self, partitions: Iterable[Partition], now: Now) -> Commit | None:
        """Return the commit to send now, if it is time for one."""
        if self._sent_at is not None:
            if now.mono - self._sent_mono < self._settings.commit_timeout_seconds:
                return None
            self._sent_at = None
        if now.mono < self._next_at:
            return None
        everything = now.mono >= self._next_all_at
        offsets = self.offsets(partitions, everything=everything)
        self._next_at = now.mono + min(self._settings.commit_seconds, self._all_seconds)
        if not offsets:
            return None
        if everything:
            self._next_all_at = now.mono + self._all_seconds
        self._sent, self._sent_at, self._sent_mono = offsets, now.boot, now.mono
        return Commit(offsets)

    def next_wake(self) -> float:
        """Return when the next commit may be due, in monotonic seconds."""
        if self._sent_at is not None:
            return self._sent_mono + self._settings.commit_timeout_seconds
        return self._next_at

    def offsets(
        self, partitions: Iterable[Partition], *, everything: bool
    ) -> dict[TopicPartition, tuple[int, str]]:
        """Return what the partitions' books say, or only what changed since it was accepted."""
        found: dict[TopicPartition, tuple[int, str]] = {}
        for partition in partitions:
            if not (partition.is_active and partition.is_alive):
                continue
            for topic, wanted in partition.offsets(self._settings.store_id).items():
                if everything or partition.accepted.get(topic, (-1, ""))[0] != wanted[0]:
                    found[(topic, partition.index)] = wanted
        return found

    def answered(
        self,
        partitions: Mapping[TopicPartition, Partition],
        results: Iterable[tuple[str, int, str | None]],
    ) -> list[Partition]:
        """Take the broker's answer (topic, partition, error or None); return whom it moved.

        A commit that was refused for some partitions may have gone through for others.
        """
        sent, sent_at = self._sent, self._sent_at
        self._sent, self._sent_at = {}, None
        moved = []
        for topic, index, error in results:
            wanted = sent.get((topic, index))
            partition = partitions.get((topic, index))
            if error is not None or wanted is None or partition is None:
                self._next_all_at = 0.0
                continue
            if sent_at is not None:
                self._fence.commit_accepted(sent_at)
            partition.accepted[topic] = wanted
            partition.books[topic].committed = wanted[0]
            moved.append(partition)
        return moved
