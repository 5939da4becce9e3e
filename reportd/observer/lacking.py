"""What runs before each schedule's newest still lack, by the marks of their days.

A run's file says what was missing when it was over; the marks say what has come since, by a replay
or by a newer run that asked for the same days. Used by `reportd.observer.finisher` in its thread.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from reportd.model.run import Finished, order_of
from reportd.observer.run_file import (
    PARTIAL,
    DayKey,
    Document,
    day_folder,
    document_in,
    file_name,
    mark_in,
)

LACKING_SECONDS = 30 * 86400.0
"""What nobody has mended for so long is no longer told of."""
MOST_RUNS = 100
MOST_DAYS = 2_000
"""The newest of them are looked at: each is a file to read."""
AGAIN_SECONDS = 600.0
"""So often without news, too: somebody may have changed the output."""

Lacks = Mapping[str, Mapping[str, int]]
"""By run, by ``partner.report``: account-days."""


def older_partial(over: Iterable[Finished], wall: float) -> list[Finished]:
    """Return the runs that something was missing of and that are not their schedule's newest.

    The newest first; of those that were over long ago none.
    """
    newest: set[str] = set()
    found = []
    for record in sorted(over, key=lambda one: order_of(one.run), reverse=True):
        schedule = record.run.partition("/")[0]
        is_newest = schedule not in newest
        newest.add(schedule)
        is_recent = record.finished_at >= wall - LACKING_SECONDS
        if record.state == "partial" and not is_newest and is_recent:
            found.append(record)
    return found[:MOST_RUNS]


@dataclass(slots=True)
class Lacking:
    """What was found last; for one thread, whoever asks for ``lacks`` may be another."""

    lacks: Lacks = field(default_factory=dict)
    _seen: frozenset[tuple[str, int]] = frozenset()
    _looked_at: float = float("-inf")
    _days: dict[tuple[str, int], frozenset[DayKey]] = field(default_factory=dict)

    def look(
        self,
        over: Mapping[str, Finished],
        read: Callable[[str], bytes | None],
        wall: float,
        now: float,
    ) -> None:
        """Look again if anything is new, or it is long ago; ``read`` may raise `OutputError`."""
        seen = frozenset((record.run, record.mend) for record in over.values())
        if seen == self._seen and now - self._looked_at < AGAIN_SECONDS:
            return
        self._looked_at = now
        runs = older_partial(over.values(), wall)
        self._days = {
            (record.run, record.mend): self._days.get((record.run, record.mend))
            or _lacking_days(document_in(read(file_name(record.run, record.mend))))
            for record in runs
        }
        wanted = {record.run for record in runs}
        found: dict[str, Counter[str]] = {}
        for partner, report, day in self._newest_days():
            mark = mark_in(read(f"{day_folder(partner, report, day)}/{PARTIAL}"))
            if mark is None:
                continue
            for one in mark["missing"]:
                if (run := one.get("run", mark["run"])) in wanted:
                    found.setdefault(run, Counter())[f"{partner}.{report}"] += 1
        self.lacks = found
        self._seen = seen

    def _newest_days(self) -> list[DayKey]:
        days = {key for found in self._days.values() for key in found}
        return sorted(days, key=lambda key: key[2], reverse=True)[:MOST_DAYS]


def _lacking_days(found: Document | None) -> frozenset[DayKey]:
    if found is None:
        return frozenset()
    return frozenset(
        (day["partner"], day["report"], day["day"]) for day in found["days"] if day["missing"]
    )
