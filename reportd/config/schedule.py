"""A schedule: when it is due, for which accounts, what it asks. One TOML file each.

Read by the enqueuer and by the tools; the daemon needs none of it.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from reportd.config.accounts import AccountsSource
from reportd.config.base import Origin, Section, as_tuple, known_zone, matching, parsed_by
from reportd.config.calendar import Calendar
from reportd.config.days import FixedDays, RelativeDays, check_length, parse_days
from reportd.config.load import read_toml
from reportd.config.passed import Passed
from reportd.config.problems import FieldProblems, Location, did_you_mean, dotted, problems_of
from reportd.config.secrets import Secret, SecretsFolder
from reportd.errors import ConfigError
from reportd.model.base import Name
from reportd.model.request import ParamValue, RequestClass

MAX_FORMATS = 8

_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,63}$")
_DEADLINE = re.compile(r"^([01][0-9]|2[0-3]):([0-5][0-9])(?:\s+(\S+))?$")
_REPORT = re.compile(r"^[a-z][a-z0-9_]{0,63}\.[a-z][a-z0-9_]{0,63}$")
_SHOWN: JsonDict = {"shown": True}
"""The sample file sets it."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time of day by which a run is to be complete."""

    at: time
    zone: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``07:00 Europe/Zurich``; raises `ValueError`. Without a zone: UTC."""
        found = _DEADLINE.fullmatch(text)
        if not found:
            raise ValueError("must be a time and its zone, like 07:00 Europe/Zurich")
        return cls(time(int(found[1]), int(found[2])), known_zone(found[3] or "UTC"))

    def __str__(self) -> str:
        """Return it in full, with its zone."""
        return f"{self.at:%H:%M} {self.zone}"

    def after(self, slot: datetime) -> datetime:
        """Return the first such time after the slot, in UTC.

        A time that the clock jumps over is moved on by what it jumps.
        """
        zone = ZoneInfo(self.zone)
        day = slot.astimezone(zone).date()
        while (found := datetime.combine(day, self.at, zone).astimezone(UTC)) <= slot:
            day += _DAY
        return found


ReportName = Annotated[str, matching(_REPORT, "must be partner.report, like acme.campaigns")]


class Ask(Section):
    """One report, asked for every account of its partner."""

    report: Annotated[str, matching(_REPORT, "must be partner.report, like acme.campaigns")] = (
        Field(examples=["acme.campaigns"])
    )
    """``partner.report``."""
    days: Annotated[RelativeDays | FixedDays, parsed_by(parse_days)] = Field(examples=["1..7"])
    """Complete days in the account's zone, counted back (``"1..7"``, ``"3"``), or fixed ones
    (``"2026-11-01..2026-11-07"``). One request asks for all of them."""
    class_: RequestClass = Field("daily", alias="class", json_schema_extra=_SHOWN)
    """What gives way to what: daily, restatement, backfill. While all have work, 21 turns are 16 of
    daily, 4 of restatement and 1 of backfill; what one leaves the others use."""
    formats: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        ("parquet",), examples=[["parquet", "csv.gz"]], json_schema_extra=_SHOWN
    )
    """The files to write from one download: ``parquet``, ``csv``, ``csv.gz``, ``csv.zst``,
    ``jsonl``, ``jsonl.gz``, ``jsonl.zst``."""
    params: dict[Name, ParamValue] = {}
    """Values for the report's templates."""
    split_days: int | None = Field(None, ge=1, examples=[7])
    """The most days that one request asks for; unset: all of ``days`` in one."""

    @field_validator("days", mode="before")
    @classmethod
    def _text(cls, days: Any) -> Any:
        if not isinstance(days, str | RelativeDays | FixedDays):
            raise ValueError('must be in quotes, like "1..7"')  # noqa: TRY004  pydantic's way
        return days

    @field_validator("formats")
    @classmethod
    def _distinct(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(formats)) < len(formats):
            raise ValueError("names a format twice; remove one")
        if not 1 <= len(formats) <= MAX_FORMATS:
            raise ValueError(f"must be 1 to {MAX_FORMATS} formats")
        return formats

    @model_validator(mode="after")
    def _length(self) -> Self:
        try:
            check_length(self.days, self.split_days)
        except ValueError as error:
            raise FieldProblems({"days": str(error)}) from None
        return self

    @property
    def partner(self) -> str:
        """The partner's name."""
        return self.report.partition(".")[0]

    @property
    def report_name(self) -> str:
        """The report's name, without the partner's."""
        return self.report.partition(".")[2]

    @property
    def spans(self) -> tuple[RelativeDays | FixedDays, ...]:
        """The days of each request."""
        return self.days.split(self.split_days) if self.split_days else (self.days,)


class ScheduleSettings(Section):
    """Everything in one file of the schedules' folder."""

    calendar: Annotated[Calendar, parsed_by(Calendar.parse)] = Field(
        examples=["*-*-* 04:00 Europe/Zurich"]
    )
    """When it is due: systemd's ``OnCalendar=``, with a zone (without: UTC)."""
    deadline: Annotated[Deadline, parsed_by(Deadline.parse)] | None = Field(
        None, examples=["07:00 Europe/Zurich"], json_schema_extra=_SHOWN
    )
    """The time of day, after the slot, by which a run is to be complete, with a zone (without:
    UTC)."""
    catch_up_slots: int = Field(7, ge=1, le=10_000, json_schema_extra=_SHOWN)
    """How many missed slots are made up for, the newest ones."""
    accounts: AccountsSource = Field(examples=["../accounts.csv"])
    """The accounts table, anything Spark reads: a path, ``{ format, path, options }`` or
    ``{ table }``. Columns: partner, account (both needed), timezone, currency, credential, active;
    any other is an attribute for templates."""
    spark: Passed = Field({}, examples=[{"master": "local[4]"}])
    """Spark's settings; ``master`` is short for ``spark.master``."""
    ask: Annotated[tuple[Ask, ...], BeforeValidator(as_tuple)]
    """What to ask, a table each."""

    @field_validator("calendar", "deadline", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if not isinstance(value, str | Calendar | Deadline):
            raise ValueError("must be text in quotes")  # noqa: TRY004  pydantic's way
        return value

    @field_validator("spark")
    @classmethod
    def _spark(cls, given: Mapping[str, str | Secret]) -> dict[str, str | Secret]:
        return {n if n.startswith("spark.") else f"spark.{n}": v for n, v in given.items()}

    @model_validator(mode="after")
    def _same(self) -> Self:
        if not self.ask:
            raise FieldProblems({"ask": "asks for nothing; add [[ask]]"})
        seen: dict[object, int] = {}
        problems: dict[Location, str] = {}
        for number, ask in enumerate(self.ask):
            for span in ask.spans:
                key = (ask.report, span, tuple(sorted(ask.params.items())))
                earlier = seen.setdefault(key, number)
                if earlier != number:
                    problems["ask", number] = (
                        f"asks the same as ask[{earlier + 1}]; remove one, and name the formats of"
                        " both in the other"
                    )
        if problems:
            raise FieldProblems(problems)
        return self


@dataclass(frozen=True, slots=True)
class Schedule:
    """A loaded schedule."""

    name: str
    """The file's name without ``.toml``; it stands in the runs' names."""
    path: Path
    settings: ScheduleSettings


def load_schedule(path: Path, secrets: SecretsFolder | None = None) -> Schedule:
    """Load one schedule; raises `ConfigError` with every problem, each with its path."""
    path = path.absolute()
    problems = []
    if not _NAME.fullmatch(path.stem):
        problems.append(f"{path}: file: rename it: small letters, digits, _ and -, at most 64")
    try:
        data = read_toml(path)
        context = Origin(path.parent, secrets)
        settings = ScheduleSettings.model_validate(data, context=context)
    except ConfigError as error:
        raise ConfigError(*problems, *error.problems) from None
    except ValidationError as error:
        found = problems_of(error, ScheduleSettings, lambda _location: path)
        raise ConfigError(*problems, *found) from None
    if problems:
        raise ConfigError(*problems)
    return Schedule(path.stem, path, settings)


def load_schedules(folder: Path, secrets: SecretsFolder | None = None) -> dict[str, Schedule]:
    """Load every ``*.toml`` of a folder, by name; raises `ConfigError` with all problems."""
    problems: list[str] = []
    found: dict[str, Schedule] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            found[path.stem] = load_schedule(path, secrets)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return found


def ask_problems(
    schedule: Schedule,
    reports: Mapping[str, Mapping[str, object]],
    formats: tuple[str, ...],
    catalogue: Collection[str] = (),
) -> list[str]:
    """Return what a schedule asks for that nobody has: partners, reports, formats.

    ``reports`` are the known reports by partner and name; ``catalogue`` names the partners that
    a file could extend.
    """
    problems = []

    def say(number: int, key: str, what: str) -> None:
        problems.append(f"{schedule.path}: {dotted(('ask', number, key))}: {what}")

    for number, ask in enumerate(schedule.settings.ask):
        of_partner = reports.get(ask.partner)
        if of_partner is None:
            hint = did_you_mean(ask.partner, reports)
            if ask.partner in catalogue:
                own = f'{ask.partner}.toml with extends = "{ask.partner}"'
                hint = f"the catalogue has it: put {own} among the partners"
            say(number, "report", f"there is no partner {ask.partner!r}; {hint}")
        elif ask.report_name not in of_partner:
            hint = did_you_mean(ask.report_name, of_partner)
            say(number, "report", f"{ask.partner} has no report {ask.report_name!r}; {hint}")
        for name in ask.formats:
            if name not in formats:
                say(number, "formats", f"unknown {name[:40]!r}; {did_you_mean(name, formats)}")
    return problems
