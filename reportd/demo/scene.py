"""What the demo plays: three partners, their accounts, what is asked of them. Plain data."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from reportd.demo.simulator.book import Question
from reportd.demo.simulator.config import Faults, Latency, Limit, Partner, SimulatorConfig
from reportd.demo.truth import Truth

_ZONES = ("UTC", "Europe/Zurich", "America/New_York", "Asia/Tokyo")
_CURRENCIES = ("EUR", "USD", "CHF")
_FAULTS = Faults(error=0.03, reset=0.01, truncated=0.01, cut=0.005, html=0.01)
_LATENCY = Latency(median_seconds=0.2, sigma=0.4, slow_share=0.01, slow_seconds=1.5)


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """One row of the accounts table."""

    partner: str
    account: str
    timezone: str
    currency: str
    credential: str
    gone: bool
    """The partner knows no such account: its requests end as dead letters."""

    def days_back(self, slot: datetime, nearest: int, farthest: int) -> tuple[date, date]:
        """Return the first and the last day, counted back from the slot in the own zone."""
        today = slot.astimezone(ZoneInfo(self.timezone)).date()
        return today - timedelta(days=farthest), today - timedelta(days=nearest)


@dataclass(frozen=True, slots=True)
class Role:
    """One partner's part: its accounts, how many requests each has, for how many days each."""

    partner: Partner
    report: str
    accounts: int
    asks: int
    days: int
    formats: tuple[str, ...]
    credential: str
    secrets: tuple[tuple[str, str], ...]
    """Name and value of each secret that its partner file names."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is played; all else follows from it."""

    roles: tuple[Role, ...]

    def accounts(self) -> Iterator[DemoAccount]:
        """Yield the accounts table."""
        for role in self.roles:
            for number in range(role.accounts):
                name = f"{role.partner.name}-{number:02d}"
                yield DemoAccount(
                    role.partner.name,
                    name,
                    _ZONES[number % len(_ZONES)],
                    _CURRENCIES[number % len(_CURRENCIES)],
                    role.credential,
                    name in role.partner.gone_accounts,
                )

    def questions(self, slot: datetime) -> set[Question]:
        """Return what every request of the slot's run asks for."""
        found = set()
        roles = {role.partner.name: role for role in self.roles}
        for account in self.accounts():
            role = roles[account.partner]
            for number in range(role.asks):
                nearest = 1 + number * role.days
                first, last = account.days_back(slot, nearest, nearest + role.days - 1)
                asked = (role.partner.name, role.report, account.account)
                found.add((*asked, first.isoformat(), last.isoformat()))
        return found

    def simulated(self, log: Path) -> SimulatorConfig:
        """Return what the simulator plays."""
        return SimulatorConfig(partners=tuple(role.partner for role in self.roles), log=str(log))


def demo_scene(scale: float = 1.0) -> Scene:
    """Return the demo's scene; ``scale`` multiplies how much is asked."""

    def many(asks: int) -> int:
        return max(1, round(asks * scale))

    return Scene(
        (
            Role(
                _acme(), "campaigns", 16, many(60), 3, ("parquet",), "north",
                (("acme-north", "token-of-north"),),
            ),
            Role(
                _bolt(), "ads", 10, many(40), 4, ("parquet",), "app",
                (("bolt-app", "key-of-the-app"),),
            ),
            Role(
                _crux(), "spend", 10, many(45), 2, ("parquet", "csv.gz"), "team",
                (("crux-password", "swordfish"),),
            ),
        )
    )  # fmt: skip


def _acme() -> Partner:
    return Partner(
        name="acme",
        limits=(Limit(per="account", calls=4, meter="bucket", burst=4),),
        faults=Faults(error=0.03, reset=0.01, truncated=0.01, cut=0.005, html=0.01, throttle=0.005),
        latency=_LATENCY,
        truth=Truth(seed=11),
        headers={"authorization": "Bearer token-of-north"},
        seed=11,
    )


def _bolt() -> Partner:
    return Partner(
        name="bolt",
        limits=(Limit(per="partner", calls=40, meter="sliding"),),
        slow_down="200-code",
        format="csv",
        gzip="file",
        paging="number",
        page_rows=10,
        preamble_lines=2,
        delimiter=";",
        bom=True,
        faults=_FAULTS,
        latency=_LATENCY,
        truth=Truth(seed=12),
        headers={"access-token": "key-of-the-app"},
        gone_accounts=("bolt-09",),
        seed=12,
    )


def _crux() -> Partner:
    return Partner(
        name="crux",
        limits=(
            Limit(per="partner", calls=40, meter="fixed"),
            Limit(per="account", calls=5, meter="bucket", burst=5),
        ),
        slow_down="403-reason",
        paging="cursor",
        page_rows=6,
        faults=_FAULTS,
        latency=_LATENCY,
        truth=Truth(seed=13),
        headers={"authorization": "Basic cmVwb3J0czpzd29yZGZpc2g="},
        seed=13,
    )
