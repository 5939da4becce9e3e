"""What the simulated partners know: which rows each account-day has.

Pure and deterministic: the simulator answers from it, the audit compares final files with it.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import blake2b

_NAMES = ("Brand", "Spring, sale", 'The "Big" One', "Zürich", "Retargeting", "=cmd", "日本", "a;b")
_MASK = (1 << 64) - 1
_MICROS = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Row:
    """One campaign's day, as the partner counts it."""

    date: str
    campaign_id: str
    name: str
    impressions: int
    clicks: int
    cost_micros: int
    ctr: float | None
    """None: the partner says "no value" in its format's own way."""


FIELDS = ("date", "campaign_id", "name", "impressions", "clicks", "cost_micros", "ctr")
"""The fields' names, in the order of the partners' files."""

Values = tuple[date, str, str, int, int, Decimal, float | None]
"""A row as it stands in a final file: date, campaign, name, impressions, clicks, cost, ctr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """All rows of one partner; ``seed`` and the names decide them."""

    seed: int = 1
    max_rows_per_day: int = 6
    empty_share: float = 0.1
    """Which part of the account-days has no rows at all."""

    def rows(self, partner: str, report: str, account: str, day: date) -> list[Row]:
        """Return one account-day's rows in the partner's order."""
        text = f"{self.seed}/{partner}/{report}/{account}/{day.isoformat()}"
        state = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        if (state >> 40) % 10_000 < self.empty_share * 10_000:
            return []
        name = day.isoformat()
        found = []
        for number in range(1 + (state & 0xFFFFFF) % self.max_rows_per_day):
            state = (state * 6364136223846793005 + 1442695040888963407) & _MASK
            impressions = 1 + (state >> 44)
            clicks = (state >> 33 & 0x7FF) % (impressions + 1)
            found.append(
                Row(
                    name,
                    f"{number:02d}{state >> 20 & 0xFFFFF:07d}",
                    _NAMES[state >> 17 & 7],
                    impressions,
                    clicks,
                    state >> 24 & 0xFFFFFFF,
                    None if clicks == 0 else clicks / impressions,
                )
            )
        return found

    def values(self, partner: str, report: str, account: str, day: date) -> list[Values]:
        """Return one account-day's rows as a final file must hold them."""
        return [
            (
                day,
                row.campaign_id,
                row.name,
                row.impressions,
                row.clicks,
                row.cost_micros / _MICROS,
                row.ctr,
            )
            for row in self.rows(partner, report, account, day)
        ]
