"""Quotas of a day: taken in small grants, each recorded in the ledger before it is used.

By the calendar of a zone (``day``), or by any span of so many seconds (``rolling``). What was
granted counts as used, whether it was or not: so nothing that an owner knew alone is needed after
it, and a crash loses at most one grant. Plain arithmetic on the wall clock; owned by
`reportd.limits.limiter`.
"""

import math
from collections.abc import Callable
from datetime import date, datetime, time
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from reportd.limits.meters import TINY

GRANT_SHARE = 100
"""A grant is this part of the quota ..."""
GRANT_MOST = 1_000
"""... but no more than so much, and as much as one call costs at least."""
SLICES = 200
"""In so many parts of a rolling window are grants used, or lost: it is that much longer."""
ASKED_SECONDS = 0.5
"""A call looks again after so long for a grant that was asked for; mostly it is woken before."""
LOOK_SECONDS = 300.0
"""A spent quota is looked at again this often: the clock may be set."""


class Window(NamedTuple):
    """What grants are of: usable from ``opens`` to ``closes``, counted until ``counts_until``."""

    number: int
    opens: float
    closes: float
    counts_until: float


class Span(Protocol):
    """How time is cut into windows; all times are epoch seconds."""

    label: str
    """What its windows are called in records, before their number."""

    def window(self, at: float) -> Window:
        """Return the window at an instant."""
        ...

    def numbered(self, number: int) -> Window:
        """Return a window by its number."""
        ...


class Days:
    """The days of a zone; nothing is used within the margin of midnight, on both sides."""

    def __init__(self, zone: str, margin_seconds: float) -> None:
        """Take an IANA zone."""
        self.label = f"day {zone}"
        self._zone = ZoneInfo(zone)
        self._margin_seconds = margin_seconds
        self._known = self.numbered(1)

    def window(self, at: float) -> Window:
        """Return the day; a call asks that often, and it is the same one nearly always."""
        known, margin = self._known, self._margin_seconds
        if not known.opens - margin <= at < known.closes + margin:
            self._known = self.numbered(datetime.fromtimestamp(at, self._zone).toordinal())
        return self._known

    def numbered(self, number: int) -> Window:
        """Return a day by its ordinal."""
        begins, ends = self._midnight(number), self._midnight(number + 1)
        return Window(number, begins + self._margin_seconds, ends - self._margin_seconds, ends)

    def _midnight(self, number: int) -> float:
        return datetime.combine(date.fromordinal(number), time(), self._zone).timestamp()


class Rolling:
    """Any span of so many seconds: what is granted in a slice of it counts a span from its end."""

    def __init__(self, seconds: float, margin_seconds: float) -> None:
        """Take the span."""
        self.label = f"rolling {seconds:g}"
        self._seconds = seconds + margin_seconds
        self._slice_seconds = seconds / SLICES

    def window(self, at: float) -> Window:
        """Return the slice at an instant."""
        return self.numbered(int(at // self._slice_seconds))

    def numbered(self, number: int) -> Window:
        """Return a slice by its number."""
        closes = (number + 1) * self._slice_seconds
        opens = number * self._slice_seconds
        return Window(number, opens, closes, closes + self._seconds)


class Asked(NamedTuple):
    """A grant that has to be recorded: of which window, how much, until when it counts."""

    number: int
    units: int
    counts_until: float


class Quota:
    """One quota of one scope; a meter whose calls are paid from recorded grants."""

    wall = True

    def __init__(
        self, calls: int, span: Span, cost: float, asks: Callable[["Quota"], None]
    ) -> None:
        """Begin with nothing granted; ``asks`` is called when a grant is wanted."""
        self._calls = calls
        self._span = span
        self._asks = asks
        self._cost = cost
        self._most = max(min(calls // GRANT_SHARE, GRANT_MOST), math.ceil(cost), 1)
        self._granted: dict[int, int] = {}
        self._in_hand = 0.0
        self._number = -1
        self._last_units = 0
        self._wants = self._is_asked = False
        self._returned: Asked | None = None
        self.is_spent = False
        """Whether the last call that may not start waits for the reset."""

    def recorded(self, number: int, units: int) -> float:
        """Take a grant as it stands in the ledger; return until when (epoch) it counts."""
        self._granted[number] = self._granted.get(number, 0) + units
        return self._span.numbered(number).counts_until

    def wait_seconds(self, now: float, cost: float = 1.0) -> float:
        """Return how long a call must wait: not at all, for a grant, or for the reset."""
        window = self._span.window(now)
        self.is_spent = False
        if window.number != self._number:
            self._begin(window.number)
        if not window.opens <= now < window.closes:
            self.is_spent = self._free(now) < cost
            opens = window.opens
            if now >= opens:
                opens = self._span.window(window.counts_until + 1.0).opens
            return min(opens - now, LOOK_SECONDS)
        if self._in_hand >= cost - TINY:
            return 0.0
        if self._is_asked:
            return ASKED_SECONDS
        if self._in_hand + self._free(now) >= cost:
            self._want()
            return ASKED_SECONDS
        self.is_spent = True
        return max(TINY, min(self.resets_at(now) - now, LOOK_SECONDS))

    def take(self, now: float, cost: float = 1.0) -> None:
        """Pay from what is in hand; ask for more before it is gone."""
        self._in_hand -= cost
        more = self._next_units()
        low = self._in_hand <= more / 2 and self._in_hand + more <= self._most
        if low and not self._is_asked and self._free(now):
            self._want()

    def give_back(self, taken_at: float, cost: float = 1.0) -> None:
        """Undo the charge, unless its window is over."""
        if self._span.window(taken_at).number == self._number:
            self._in_hand += cost

    def left_late(self, taken_at: float, cost: float, late_seconds: float) -> None:
        """Do nothing: the margin around a reset is longer than any call may be late."""

    def settle(self, taken_at: float, cost: float, sent_at: float, actual: float) -> None:
        """Correct the charge; what it cost more than there was is taken from the next grant."""
        if actual > cost:
            self._in_hand -= actual - cost
        elif actual < cost:
            self.give_back(taken_at, cost - actual)

    def ask(self, now: float) -> list[Asked]:
        """Return what is to be recorded now: what goes back, and the grant that is wanted."""
        self._wants = False
        found = [self._returned] if self._returned is not None else []
        self._returned = None
        window = self._span.window(now)
        short = math.ceil(self._cost - self._in_hand)
        room = math.floor(self._most - self._in_hand)
        units = min(max(short, min(self._next_units(), room)), self._free(now))
        if units > 0 and window.opens <= now < window.closes and not self._is_asked:
            self._is_asked = True
            self._last_units = units
            found.append(self._counted(window.number, units))
        return found

    def granted(self, asked: Asked) -> None:
        """Use a grant: its record stands. One of a window that is over goes back."""
        if asked.units < 0:
            return
        self._is_asked = False
        if asked.number == self._number:
            self._in_hand += asked.units
        else:
            self._return(asked.number, asked.units)

    def _counted(self, number: int, units: int) -> Asked:
        self._granted[number] = self._granted.get(number, 0) + units
        return Asked(number, units, self._span.numbered(number).counts_until)

    def _return(self, number: int, units: int) -> None:
        """Give back what was granted in a slice that is over, and not used: grants add up."""
        if units > 0 and isinstance(self._span, Rolling) and self._returned is None:
            self._returned = self._counted(number, -units)
            self._want()

    def share(self, now: float) -> float:
        """Return the part that is used or in hand."""
        return min(1.0, self._used(now) / self._calls)

    def remaining(self, now: float) -> float:
        """Return how much can still be used before the reset."""
        return max(0.0, self._free(now) + max(0.0, self._in_hand))

    def resets_at(self, now: float) -> float:
        """Return when (epoch) there is more again: a day's end, or the first grant's."""
        counted = [
            window.counts_until
            for number in self._granted
            if (window := self._span.numbered(number)).counts_until > now
        ]
        if isinstance(self._span, Days):
            return self._span.window(self._span.window(now).counts_until + 1.0).opens
        return min(counted, default=now)

    def _begin(self, number: int) -> None:
        """Begin a window: what is left of the last one's grants goes back, what is owed stays."""
        self._return(self._number, math.floor(self._in_hand + TINY))
        self._number = number
        self._in_hand = min(0.0, self._in_hand)
        self._last_units = 0

    def _next_units(self) -> int:
        """Return how much the next grant is of: a day's is half; a slice's grow from one call on.

        Little is lost then where there is little to do.
        """
        half = max(1, self._most // 2)
        return half if isinstance(self._span, Days) else min(half, max(1, 2 * self._last_units))

    def _want(self) -> None:
        if not self._wants:
            self._wants = True
            self._asks(self)

    def _free(self, now: float) -> int:
        return max(0, self._calls - self._used(now))

    def _used(self, now: float) -> int:
        over = [n for n in self._granted if self._span.numbered(n).counts_until <= now - 86_400.0]
        for number in over:
            del self._granted[number]
        return sum(
            units
            for number, units in self._granted.items()
            if self._span.numbered(number).counts_until > now
        )
