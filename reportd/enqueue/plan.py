"""What a run asks for, decided before anything is read or written.

A run is accounts x asks; days are the account's own. All that depends on the zone and the ask
alone is worked out here, with the time zones the workers use; what is left to Spark is joining
accounts to these few rows. Pure; used by `reportd.enqueue.job`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

import orjson

from reportd.config.days import FixedDays, RelativeDays
from reportd.model.request import CLASSES, RequestClass, canonical_params
from reportd.model.run import RunId, TopicSpan

KeyScope = Literal["account", "credential", "partner"]
DAY = timedelta(days=1)


Offsets = Mapping[str, Mapping[int, int]]
"""Topic and partition -> an offset."""


@dataclass(frozen=True, slots=True)
class Ids:
    """A set of ids, by what two equal sets have in common."""

    requests: int
    mark: int
    """XOR of the ids' 64-bit hashes: quick to compute, told to nobody."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the topics hold of a run."""

    ids: Ids
    ids_hash: str
    """As `Manifest.ids_hash`."""
    topics: tuple[TopicSpan, ...] = ()

    @property
    def requests(self) -> int:
        """How many there are."""
        return self.ids.requests


@dataclass(frozen=True, slots=True)
class PlannedAsk:
    """One thing asked for every active account of a partner."""

    partner: str
    report: str
    days: RelativeDays | FixedDays
    class_: RequestClass
    formats: tuple[str, ...]
    topic: str
    key_scope: KeyScope
    ready_hours: float = 0.0
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``partner.report``."""
        return f"{self.partner}.{self.report}"

    def range(self, slot: datetime, zone: str) -> tuple[date, date]:
        """Return the first and the last day, as ``zone`` counts days when the slot begins."""
        return self.days.range(slot.astimezone(ZoneInfo(zone)).date())

    def not_before(self, last_day: date, zone: str) -> float:
        """Return when the last day's data can be complete, in seconds since the epoch."""
        midnight = datetime.combine(last_day + DAY, time(), ZoneInfo(zone))
        return midnight.timestamp() + self.ready_hours * 3600


@dataclass(frozen=True, slots=True)
class AskRow:
    """An ask in one time zone: what Spark joins the accounts of that zone to."""

    turn: int
    """Place among the asks: all accounts' first ask stands before any account's second."""
    partner: str
    timezone: str
    report: str
    first_day: str
    last_day: str
    params: str
    body: str
    """The request's JSON fields that do not depend on the account."""
    topic: str
    key_scope: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What one ask comes to, for people."""

    ask: PlannedAsk
    accounts: int
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class RunPlan:
    """All requests of one run, for any number of accounts."""

    run: RunId
    asks: tuple[PlannedAsk, ...]

    @property
    def topics(self) -> list[str]:
        """The topics it writes to."""
        return sorted({ask.topic for ask in self.asks})

    def rows(self, zones: Mapping[str, Iterable[str]]) -> list[AskRow]:
        """Return a row for each ask and each zone that its partner's accounts are in.

        Asks that come to the same requests (``"1"`` and yesterday's date) count once.
        """
        rows: dict[tuple[str, ...], AskRow] = {}
        for turn, ask in enumerate(self.asks):
            for zone in sorted(zones.get(ask.partner, ())):
                row = self._row(turn, ask, zone)
                key = (row.partner, zone, row.report, row.first_day, row.last_day, row.params)
                rows.setdefault(key, row)
        return list(rows.values())

    def _row(self, turn: int, ask: PlannedAsk, zone: str) -> AskRow:
        first, last = ask.range(self.run.slot, zone)
        params = dict(ask.params)
        body = {
            "v": 1,
            "run": str(self.run),
            "partner": ask.partner,
            "report": ask.report,
            "first_day": first.isoformat(),
            "last_day": last.isoformat(),
            "params": params,
            "formats": ask.formats,
            "class": ask.class_,
            "not_before": ask.not_before(last, zone),
        }
        return AskRow(
            turn=turn,
            partner=ask.partner,
            timezone=zone,
            report=ask.report,
            first_day=first.isoformat(),
            last_day=last.isoformat(),
            params=canonical_params(params).decode(),
            body=orjson.dumps(body)[1:-1].decode(),
            topic=ask.topic,
            key_scope=ask.key_scope,
        )

    def account_days(self, accounts: Mapping[tuple[str, str], int]) -> dict[str, int]:
        """Return, for each report, how many account-days it covers; overlaps count once.

        ``accounts`` is how many active ones there are of each (partner, zone).
        """
        by_name = sorted(self.asks, key=lambda ask: ask.name)
        return {
            name: sum(
                count * len(self._days_of(list(asks), zone))
                for (partner, zone), count in accounts.items()
                if partner == name.partition(".")[0]
            )
            for name, asks in ((n, tuple(a)) for n, a in groupby(by_name, lambda ask: ask.name))
        }

    def _days_of(self, asks: Sequence[PlannedAsk], zone: str) -> set[date]:
        ranges = (ask.range(self.run.slot, zone) for ask in asks)
        return {first + n * DAY for first, last in ranges for n in range((last - first).days + 1)}

    def tallies(self, accounts: Mapping[tuple[str, str], int]) -> Iterator[Tally]:
        """Yield what each ask comes to; its days span all of its accounts' zones."""
        for ask in self.asks:
            zones = {zone: n for (partner, zone), n in accounts.items() if partner == ask.partner}
            ranges = [ask.range(self.run.slot, zone) for zone in zones or ("UTC",)]
            yield Tally(
                ask,
                sum(zones.values()),
                min(first for first, _ in ranges),
                max(last for _, last in ranges),
            )


def in_turn(asks: Iterable[PlannedAsk]) -> tuple[PlannedAsk, ...]:
    """Order asks by what gives way to what, else as written."""
    return tuple(sorted(asks, key=lambda ask: CLASSES.index(ask.class_)))


def unknown_zones(names: Iterable[str]) -> list[str]:
    """Return the names that are no IANA time zones, in order."""
    known = available_timezones()
    return sorted(name for name in set(names) if name not in known)
