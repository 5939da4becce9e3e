"""The newest run of each schedule, and how much of it is still open. Pure."""

from collections.abc import Mapping

from reportd.broker.message import Message, Part
from reportd.errors import InvalidMessageError
from reportd.model.run import Manifest, RunId
from reportd.observer.offsets import Offsets


class Runs:
    """The manifests of the topic ``runs``, the newest of each schedule."""

    def __init__(self) -> None:
        """Know none."""
        self._newest: dict[str, Manifest] = {}

    def see(self, message: Message) -> None:
        """Take one record; claims and what does not parse are passed over."""
        try:
            manifest = Manifest.from_json(message.value)
            run = RunId.parse(manifest.run)
        except InvalidMessageError:
            return
        known = self._newest.get(run.schedule)
        if known is None or RunId.parse(known.run).order <= run.order:
            self._newest[run.schedule] = manifest

    def newest(self) -> Mapping[str, Manifest]:
        """Return each schedule's newest run."""
        return self._newest


def open_at_most(manifest: Manifest, offsets: Offsets) -> int:
    """Return how many of a run's offsets lie at or behind the commits.

    An upper bound: what has ended behind an open request is counted until the commit passes.
    """
    total = 0
    for topic in manifest.topics:
        left = 0
        for number, (first, end) in topic.spans.items():
            part: Part = (topic.topic, number)
            lag = offsets.lags.get(part)
            left += max(0, end - max(first, lag.start)) if lag is not None else end - first
        total += min(left, topic.requests)
    return total
