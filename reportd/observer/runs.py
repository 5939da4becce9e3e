"""The runs as the topic ``runs`` tells of them: how much is open, and which have something due.

Pure; used by `reportd.observer.brokerwatch` in its thread.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from reportd.broker.message import Message, Part
from reportd.errors import InvalidMessageError
from reportd.model.run import Finished, Manifest, Mending, RunId, TopicSpan, parse_run_record
from reportd.observer.offsets import Offsets

REMEMBERED_SECONDS = 90 * 86400.0
"""As long as ledgers and dead letters are kept: what became of an older run cannot be told."""
FORGET_SECONDS = 3600.0
"""How often it is looked for what is older."""
HELD_UP_SECONDS = 600.0
"""After so long without a commit, because of what lies before a run, its ledgers are looked at."""
SETTLED_SECONDS = 3600.0
"""Whoever sends dead letters again and has not said for so long that all are sent was killed."""


Span = tuple[Part, int, int]
"""The first offset of some requests in a partition, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done about a run."""

    manifest: Manifest
    mend: int = 0
    """Which `Finished` of the run it leads to."""
    mendings: int = 0
    before: Finished | None = None
    """The last one. If it is the same mend, its file stands, and nobody was told yet."""
    is_held_up: bool = False
    """Whether it is not committed because of others' open requests: it may be over, or not."""

    @property
    def is_untold(self) -> bool:
        """Whether it is written, and only to be told of."""
        return self.before is not None and self.before.mend == self.mend


class Runs:
    """The records of the topic ``runs``."""

    def __init__(self) -> None:
        """Know none."""
        self._newest: dict[str, Manifest] = {}
        self._manifests: dict[str, bytes] = {}
        self._finished: dict[str, Finished] = {}
        self._mendings: dict[str, dict[str, Mending]] = {}
        self._stale_ends: dict[tuple[str, str], dict[Part, int]] = {}
        self._waiting: dict[str, Manifest] = {}
        """Those that something may be due of; the others are kept as bytes: they are many."""
        self._enqueued_at: dict[str, float] = {}
        self._forgot_at = float("-inf")
        self._still: dict[Part, tuple[int, float]] = {}
        """Each partition's commit, and since when it has been that."""

    def see(self, message: Message) -> None:
        """Take one record; claims and what does not parse are passed over."""
        try:
            record = parse_run_record(message.value)
        except InvalidMessageError:
            return
        if isinstance(record, Manifest):
            self._see_manifest(record, message.value)
        elif isinstance(record, Finished):
            self._finished[record.run] = record
        elif isinstance(record, Mending):
            self._mendings.setdefault(record.run, {})[record.name] = record
            if (data := self._manifests.get(record.run)) is not None:
                self._waiting.setdefault(record.run, Manifest.from_json(data))

    def _see_manifest(self, manifest: Manifest, data: bytes) -> None:
        run = RunId.parse(manifest.run)
        self._manifests[manifest.run] = data
        self._enqueued_at[manifest.run] = manifest.enqueued_at
        self._waiting[manifest.run] = manifest
        known = self._newest.get(run.schedule)
        if known is None or RunId.parse(known.run).order <= run.order:
            self._newest[run.schedule] = manifest

    def newest(self) -> Mapping[str, Manifest]:
        """Return each schedule's newest run."""
        return self._newest

    def finished(self) -> Mapping[str, Finished]:
        """Return each schedule's newest run that is over."""
        found: dict[str, Finished] = {}
        for record in self._finished.values():
            run = RunId.parse(record.run)
            known = found.get(run.schedule)
            if known is None or RunId.parse(known.run).order < run.order:
                found[run.schedule] = record
        return found

    def over(self) -> Mapping[str, Finished]:
        """Return every run that is over and not forgotten, by its name."""
        return self._finished

    def older(self) -> tuple[Manifest, ...]:
        """Return the runs before each schedule's newest that are not over, the newest first."""
        newest = {manifest.run for manifest in self._newest.values()}
        found = [manifest for manifest in self._not_over() if manifest.run not in newest]
        return tuple(sorted(found, key=lambda one: RunId.parse(one.run).order, reverse=True))

    def open_spans(self, offsets: Offsets) -> Iterator[Span]:
        """Yield what is not committed of runs that are not over."""
        for manifest in self._not_over():
            for part, first, end in _spans_of(manifest):
                lag = offsets.lags.get(part)
                if (left := first if lag is None else max(first, lag.start)) < end:
                    yield part, left, end

    def _not_over(self) -> Iterator[Manifest]:
        for run, manifest in self._waiting.items():
            before = self._finished.get(run)
            if before is None or before.ids_hash != manifest.ids_hash:
                yield manifest

    def _forget(self, wall: float) -> None:
        """Let go of runs that are older than what can be told of them."""
        if wall - self._forgot_at < FORGET_SECONDS:
            return
        self._forgot_at = wall
        oldest = wall - REMEMBERED_SECONDS
        for run in [run for run, at in self._enqueued_at.items() if at < oldest]:
            del self._enqueued_at[run], self._manifests[run]
            self._waiting.pop(run, None)
        gone = [run for run, one in self._finished.items() if one.finished_at < oldest]
        for run in gone:
            del self._finished[run]
        for run in self._mendings.keys() - self._manifests.keys():
            del self._mendings[run]
        self._stale_ends = {
            key: ends for key, ends in self._stale_ends.items() if key[0] in self._mendings
        }
        self._newest = {
            name: one for name, one in self._newest.items() if one.enqueued_at >= oldest
        }

    def due(self, offsets: Offsets, wall: float) -> tuple[Due, ...]:
        """Return what is to be done, the oldest run's first. Forgets what is too old for that."""
        self._forget(wall)
        self._watch(offsets, wall)
        found = []
        for run, manifest in list(self._waiting.items()):
            if due := self._due(manifest, offsets, wall):
                found.append(due)
            elif self._is_settled(manifest):
                del self._waiting[run]
        return tuple(sorted(found, key=lambda due: RunId.parse(due.manifest.run).order))

    def _due(self, manifest: Manifest, offsets: Offsets, wall: float) -> Due | None:
        before = self._finished.get(manifest.run)
        sent = self._mendings.get(manifest.run, {}).values()
        unripe = [one for one in sent if not self._is_ripe(one, offsets, wall)]
        ripe = len(sent) - len(unripe)
        is_new = before is None or before.ids_hash != manifest.ids_hash
        has_more = before is not None and ripe > before.mendings
        mend = 0 if before is None else before.mend + 1
        if (is_new or has_more) and not open_at_most(manifest, offsets):
            return Due(manifest, mend, ripe, before)
        if is_new and self._is_held_up(_spans_of(manifest), offsets, wall):
            return Due(manifest, mend, ripe, before, is_held_up=True)
        if before is not None and not before.notified:  # whoever is mute holds no mark back
            return Due(manifest, before.mend, before.mendings, before)
        if before is not None and any(
            self._is_held_up(_spans_sent(one), offsets, wall) for one in unripe if one.ends
        ):
            return Due(manifest, mend, before.mendings, before, is_held_up=True)
        return None

    def _watch(self, offsets: Offsets, wall: float) -> None:
        for part, lag in offsets.lags.items():
            commit, _ = self._still.get(part, (None, wall))
            if commit != lag.start:
                self._still[part] = lag.start, wall

    def _is_held_up(self, spans: Iterable[Span], offsets: Offsets, wall: float) -> bool:
        """Say whether all that is not committed of them lies behind what is not theirs."""
        for part, first, end in spans:
            lag = offsets.lags.get(part)
            if lag is None:
                return False
            _, since = self._still[part]
            if lag.start < end and (lag.start >= first or wall - since < HELD_UP_SECONDS):
                return False
        return True

    def _is_settled(self, manifest: Manifest) -> bool:
        before = self._finished.get(manifest.run)
        return (
            before is not None
            and before.notified
            and before.ids_hash == manifest.ids_hash
            and before.mendings >= len(self._mendings.get(manifest.run, {}))
        )

    def _is_ripe(self, mending: Mending, offsets: Offsets, wall: float) -> bool:
        """Say whether all that was sent again has ended."""
        ends = {
            (topic, number): end
            for topic, parts in mending.ends.items()
            for number, end in parts.items()
        }
        if not ends:
            if wall - mending.at < SETTLED_SECONDS:
                return False
            ends = self._stale_ends.setdefault(
                (mending.run, mending.name), _ends_now(mending, offsets)
            )
        return all(
            (lag := offsets.lags.get(part)) is not None and lag.start >= end
            for part, end in ends.items()
        )


def _ends_now(mending: Mending, offsets: Offsets) -> dict[Part, int]:
    return {
        (topic, number): max(start, lag.end if (lag := offsets.lags.get((topic, number))) else 0)
        for topic, parts in mending.topics.items()
        for number, start in parts.items()
    }


def _spans_of(manifest: Manifest) -> Iterator[Span]:
    for topic in manifest.topics:
        for number, (first, end) in topic.spans.items():
            yield (topic.topic, number), first, end


def _spans_sent(mending: Mending) -> Iterator[Span]:
    for topic, parts in mending.ends.items():
        for number, end in parts.items():
            yield (topic, number), mending.topics.get(topic, {}).get(number, 0), end


def open_at_most(manifest: Manifest, offsets: Offsets) -> int:
    """Return how many of a run's offsets lie at or behind the commits.

    An upper bound: what has ended behind an open request is counted until the commit passes.
    """
    return sum(_open_of(topic, offsets) for topic in manifest.topics)


def progress_by_partner(manifest: Manifest, offsets: Offsets) -> dict[str, tuple[int, int]]:
    """Return how many requests of each partner a run has, and how many are open at most."""
    found: dict[str, tuple[int, int]] = {}
    for topic in manifest.topics:
        parts = ((topic.topic, number) for number in topic.spans)
        lags = (offsets.lags.get(part) for part in parts)
        partner = next((lag.partner for lag in lags if lag is not None), None)
        if partner is not None:
            requests, left = found.get(partner, (0, 0))
            found[partner] = requests + topic.requests, left + _open_of(topic, offsets)
    return found


def _open_of(topic: TopicSpan, offsets: Offsets) -> int:
    left = 0
    for number, (first, end) in topic.spans.items():
        part: Part = (topic.topic, number)
        lag = offsets.lags.get(part)
        left += max(0, end - max(first, lag.start)) if lag is not None else end - first
    return min(left, topic.requests)
