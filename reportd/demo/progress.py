"""How the demo looks while it runs: bars on a terminal, plain lines anywhere else."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_RATE_SECONDS = 4.0
_LINE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PartnerProgress:
    """One partner now."""

    name: str
    ended: int
    total: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one partner goes, and until when."""

    per_second: float
    eta_seconds: float | None
    """None: nothing moves."""


class Rates:
    """Requests ended a second, over the last few seconds; handed ``now``."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def of(self, partner: PartnerProgress, now: float) -> Rate:
        """Take a new count in and return the rate."""
        seen = self._seen.setdefault(partner.name, deque())
        seen.append((now, partner.ended))
        while len(seen) > 2 and seen[1][0] < now - _RATE_SECONDS:
            seen.popleft()
        seconds, ended = now - seen[0][0], partner.ended - seen[0][1]
        rate = ended / seconds if seconds > 0 else 0.0
        left = partner.total - partner.ended
        return Rate(rate, left / rate if rate else None if left else 0.0)


class Display(Protocol):
    """What shows the progress."""

    def show(self, partners: Sequence[PartnerProgress], now: float) -> None:
        """Show the present state."""
        ...

    def say(self, text: str) -> None:
        """Say that something happened."""
        ...

    def close(self) -> None:
        """Show no more."""
        ...


class PlainDisplay:
    """A line every two seconds."""

    def __init__(self, console: Console, started: float) -> None:
        self._console = console
        self._rates = Rates()
        self._started = started
        self._next = 0.0

    def show(self, partners: Sequence[PartnerProgress], now: float) -> None:
        """See `Display.show`."""
        rates = {one.name: self._rates.of(one, now) for one in partners}
        if now < self._next:
            return
        self._next = now + _LINE_SECONDS
        parts = [
            f"{one.name} {one.ended}/{one.total} {rates[one.name].per_second:.0f}/s"
            for one in partners
        ]
        still = sum(one.total - one.ended for one in partners)
        eta = _eta(rates)
        self._console.print(
            f"{now - self._started:5.1f} s  {'  '.join(parts)}  open {still}  ETA {eta}",
            highlight=False,
            soft_wrap=True,
        )

    def say(self, text: str) -> None:
        """See `Display.say`."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """See `Display.close`."""


class LiveDisplay:
    """Bars that move."""

    def __init__(self, console: Console, started: float) -> None:
        self._console = console
        self._rates = Rates()
        self._started = started
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._live.start()

    def show(self, partners: Sequence[PartnerProgress], now: float) -> None:
        """See `Display.show`."""
        table = Table.grid(padding=(0, 1))
        for one in partners:
            rate = self._rates.of(one, now)
            done = one.ended >= one.total > 0
            table.add_row(
                Text(one.name, style="bold"),
                ProgressBar(total=max(1, one.total), completed=one.ended, width=40),
                f"{one.ended}/{one.total}",
                f"{rate.per_second:.0f}/s",
                f"{one.total - one.ended} open, {one.in_flight} in flight",
                "done" if done else f"ETA {_seconds(rate.eta_seconds)}",
            )
        table.add_row(Text(f"{now - self._started:.0f} s", style="dim"))
        self._live.update(table)

    def say(self, text: str) -> None:
        """See `Display.say`."""
        self._live.console.print(text, highlight=False)

    def close(self) -> None:
        """See `Display.close`."""
        self._live.stop()


def make_display(console: Console, started: float) -> Display:
    """Return what fits the console; ``started`` is the monotonic time that it counts from."""
    if console.is_terminal:
        return LiveDisplay(console, started)
    return PlainDisplay(console, started)


def _eta(rates: Mapping[str, Rate]) -> str:
    found = [rate.eta_seconds for rate in rates.values()]
    return _seconds(None if None in found else max((one or 0.0) for one in found))


def _seconds(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.0f} s"
