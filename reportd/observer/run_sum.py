"""What became of a run: its ends, added up as they are read from the ledgers.

Pure; one is made for each look at a run that seems to be over. It holds 16 bytes a request, some
more for one that has brought nothing, and one number a report and account; the files go by.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date

from reportd.model.id_set import IdSet, number_of
from reportd.model.ledger import POISONED, End
from reportd.model.run import Covered, Manifest

NO_REQUEST = "no such request"


@dataclass(frozen=True, slots=True)
class Missing:
    """A request that has brought nothing, or one that should have been made."""

    partner: str
    report: str
    account: str
    first_day: str
    last_day: str
    why: str
    id: str = ""

    def days(self) -> Iterator[str]:
        """Yield its days."""
        first, last = _ordinals(self.first_day, self.last_day)
        for number in range(first, last + 1):
            yield date.fromordinal(number).isoformat()


@dataclass(slots=True)
class DayTotals:
    """One day of one report."""

    files: int = 0
    unchanged: int = 0
    rows: int = 0
    bytes: int = 0
    provisional: int = 0
    """Account-days that may still change."""


@dataclass(slots=True)
class _Days:
    """Which days which account has of one report: a number of bits an account."""

    base: int = 0
    masks: dict[str, int] = field(default_factory=dict)

    def add(self, account: str, first: int, last: int) -> None:
        if not self.masks:
            self.base = first
        elif first < self.base:
            self.masks = {name: mask << (self.base - first) for name, mask in self.masks.items()}
            self.base = first
        bits = ((1 << (last - first + 1)) - 1) << (first - self.base)
        self.masks[account] = self.masks.get(account, 0) | bits

    def count(self) -> int:
        return sum(mask.bit_count() for mask in self.masks.values())

    def by_day(self) -> dict[str, int]:
        """Return how many accounts each day has."""
        found: Counter[int] = Counter()
        for mask, accounts in Counter(self.masks.values()).items():
            left = mask
            while left:
                lowest = left & -left
                found[lowest.bit_length() - 1] += accounts
                left ^= lowest
        return {
            date.fromordinal(self.base + number).isoformat(): count
            for number, count in sorted(found.items())
        }


class RunSum:
    """The ends of one run. Add those of one ledger partition in their order."""

    def __init__(self, manifest: Manifest) -> None:
        """Begin with nothing."""
        self._manifest = manifest
        self._spans = {
            (topic.topic, number): span
            for topic in manifest.topics
            for number, span in topic.spans.items()
        }
        self._ids = IdSet()
        self._inside, self._inside_mark = 0, 0
        """How many of them lie where the manifest says, and their XOR."""
        self._missing: dict[int, Missing] = {}
        self._asked: defaultdict[tuple[str, str], _Days] = defaultdict(_Days)
        self.states: Counter[str] = Counter()
        self.days: defaultdict[tuple[str, str, str], DayTotals] = defaultdict(DayTotals)
        self.first_call_at = float("inf")
        self.last_end_at = float("-inf")

    def add(self, partner: str, partition: int, end: End) -> bool:
        """Take an end of this run; say whether it counts: the first of a life does.

        A replay counts in place of the life that was dead, and so does any message of the request
        in place of one that was refused. The partition is the ledger's, and so the request's.
        """
        number = number_of(end.stands_for or end.id)
        is_new = self._ids.add(number)
        first, last = self._spans.get((end.topic, partition), (0, 0))
        if is_new and first <= end.offset < last:
            self._inside += 1
            self._inside_mark ^= number
        if not is_new:
            before = self._missing.get(number)
            if before is None or not (end.replay or before.why == POISONED):
                return False
            del self._missing[number]
            self.states["dead"] -= 1
        self.states[end.state] += 1
        self._cover(partner, end, number)
        if end.calls:
            self.first_call_at = min(self.first_call_at, end.started_at)
        self.last_end_at = max(self.last_end_at, end.ended_at)
        return True

    def is_whole(self) -> bool:
        """Say whether every request of the manifest has ended, by their ids.

        Those that lie where the manifest says are enough; of one that was moved to another
        partition the end lies elsewhere.
        """
        wanted = (self._manifest.requests, self._manifest.ids_hash)
        return wanted in {
            (self._inside, f"{self._inside_mark:016x}"),
            (len(self._ids), self._ids.hash),
        }

    def unasked(self) -> dict[tuple[str, str], int]:
        """Return how many account-days of each report were expected, and not even asked for."""
        found = {}
        for name, expected in self._manifest.account_days.items():
            partner, _, report = name.partition(".")
            asked = self._asked[partner, report].count() if (partner, report) in self._asked else 0
            if asked < expected:
                found[partner, report] = expected - asked
        return found

    def asks_for(self, partner: str, report: str, account: str) -> bool:
        """Say whether there is any request for an account's report."""
        return account in self._asked[partner, report].masks

    def range_of(self, partner: str, report: str) -> tuple[str, str] | None:
        """Return the first and the last day of a report that the run asks for."""
        days = list(self._asked[partner, report].by_day())
        return (days[0], days[-1]) if days else None

    def missing(self) -> list[Missing]:
        """Return the requests that have brought nothing.

        An older version's end does not tell their days: it may be any that the report has here.
        """
        found = [one if one.first_day else self._anywhere(one) for one in self._missing.values()]
        return sorted(found, key=lambda one: (one.partner, one.report, one.account, one.first_day))

    def _anywhere(self, one: Missing) -> Missing:
        first_day, last_day = self.range_of(one.partner, one.report) or ("", "")
        return replace(one, first_day=first_day, last_day=last_day)

    def reports(self) -> dict[str, Covered]:
        """Return what the run brought, by ``partner.report``."""
        lost: defaultdict[tuple[str, str], _Days] = defaultdict(_Days)
        for one in self.missing():
            lost[one.partner, one.report].add(one.account, *_ordinals(one.first_day, one.last_day))
        unasked = self.unasked()
        found = {}
        for key in sorted({*self._asked, *unasked}):
            asked = self._asked[key].count() if key in self._asked else 0
            absent = unasked.get(key, 0)
            days = [total for (*name, _), total in self.days.items() if tuple(name) == key]
            found[".".join(key)] = Covered(
                expected=asked + absent,
                missing=absent + (lost[key].count() if key in lost else 0),
                provisional=sum(one.provisional for one in days),
                files=sum(one.files for one in days),
                unchanged=sum(one.unchanged for one in days),
                rows=sum(one.rows for one in days),
                bytes=sum(one.bytes for one in days),
            )
        return found

    def asked_by_day(self) -> dict[tuple[str, str], dict[str, int]]:
        """Return how many accounts each report was asked for, by day."""
        return {key: days.by_day() for key, days in self._asked.items()}

    def _cover(self, partner: str, end: End, number: int) -> None:
        first_day, last_day = _range(end)
        if first_day:
            ordinals = _ordinals(first_day, last_day)
            self._asked[partner, end.report].add(end.account, *ordinals)
        if end.state in {"dead", "cancelled"}:
            why = end.reason.partition(": ")[0] if end.state == "dead" else end.state
            self._missing[number] = Missing(
                partner, end.report, end.account, first_day, last_day, why, end.id
            )
        for file in end.files:
            total = self.days[partner, end.report, file.day]
            total.files += 1
            total.unchanged += file.unchanged
            total.rows += file.rows
            total.bytes += file.bytes
        for day in {file.day for file in end.files if file.provisional}:
            self.days[partner, end.report, day].provisional += 1


def _range(end: End) -> tuple[str, str]:
    """Return a request's days; an older version's end of a result tells them by its files."""
    if end.first_day:
        return end.first_day, end.last_day
    days = [file.day for file in end.files]
    return (min(days), max(days)) if days else ("", "")


def _ordinals(first_day: str, last_day: str) -> tuple[int, int]:
    return date.fromisoformat(first_day).toordinal(), date.fromisoformat(last_day).toordinal()
