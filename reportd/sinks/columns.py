"""What a report's columns are called, where they come from and which type they have.

Part of a partner file (``[reports.NAME.columns]``): read and checked by whoever loads one, any
process. The order of declaration is the order in the files. ``reportd.sinks.schema`` compiles
it for Arrow; nothing here needs Arrow.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from reportd.config.expressions import unparsed

ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
"""A column's name in the files; no leading ``_``, no quoting needed in any query language."""

PLAIN_TYPES = ("string", "int64", "float64", "bool", "date", "timestamp", "json")
TYPE_NAMES = ", ".join((*PLAIN_TYPES, "decimal(p,s)"))
NUMBERS = ("int64", "float64", "decimal")
UNSET_MARKERS = ("", "-", "--")
"""What means "no value" where the type is not a string and ``null`` is not given."""

REQUEST_FIELDS: Mapping[str, str] = {
    "account": "string",
    "partner": "string",
    "report": "string",
    "currency": "string",
    "credential": "string",
    "timezone": "string",
    "run": "string",
    "id": "string",
    "class": "string",
    "first_day": "date",
    "last_day": "date",
    "downloaded_at": "timestamp",
}
"""The request's own: name -> the type it has unless the column says another."""

_DECIMAL = re.compile(r"^decimal\( *(\d{1,2}) *, *(\d{1,2}) *\)$")
_OWN_KEY = re.compile(r"^(params|attributes)\.[A-Za-z_][A-Za-z0-9_.-]{0,63}$")


class ColumnSpec(BaseModel):
    """One column: ``clicks = "int64"`` is short for ``clicks = { type = "int64" }``."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True
    )

    type: str = ""
    """``string int64 float64 bool date timestamp json`` or ``decimal(precision,scale)``."""
    from_: Annotated[str | None, Field(alias="from", min_length=1, max_length=500)] = None
    """JSON: a JMESPath within one record. CSV: the header. Without it: the column's name."""
    request: str | None = None
    """Instead of ``from``: a field of the request itself, e.g. ``account``, ``params.level``."""
    divide: Annotated[int | None, Field(ge=10)] = None
    """A power of ten, for decimals alone: 1_000_000 turns micros into units, exactly."""
    round: bool = False
    """Decimals with more places than declared are rounded (half to even), not refused."""
    null: tuple[str, ...] | None = None
    """Texts that mean "no value"; default: empty, ``-`` and ``--``, for strings none."""
    thousands: Literal[",", ".", " ", "'", "_", "\u00a0", "\u202f"] | None = None
    """A separator to drop from numbers."""
    decimal_point: Literal[".", ","] = "."
    """What stands before a number's decimals."""
    percent: bool = False
    """Drop a ``%`` behind the number; it is not divided (``divide = 100`` does that)."""
    format: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    """Dates and timestamps that are not ISO 8601: a strptime format, ``epoch``, ``epoch_ms``."""
    zone: str | None = None
    """The zone of timestamps that carry none: an IANA name, or ``account`` for the account's."""
    optional: bool = False
    """Absent in an answer (or in some of its records) is no value instead of an error."""

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, data: Any) -> Any:
        return {"type": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        found = self._type_problem() or self._source_problem() or self._option_problem()
        if found:
            raise ValueError(found)
        return self

    @cached_property
    def kind(self) -> str:
        """Return the type's name, without a decimal's parameters."""
        name = self.type or REQUEST_FIELDS.get(self.request or "", "string")
        return "decimal" if name.startswith("decimal") else name

    @cached_property
    def precision_scale(self) -> tuple[int, int]:
        """Return a decimal's digits and places; (0, 0) for any other type."""
        found = _DECIMAL.match(self.type)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def null_markers(self) -> tuple[str, ...]:
        """Return the texts that mean "no value"."""
        if self.null is not None:
            return self.null
        return () if self.kind in ("string", "json") else UNSET_MARKERS

    def _type_problem(self) -> str:
        if not self.type and self.request is None:
            return f"type: missing; one of {TYPE_NAMES}"
        if self.kind != "decimal":
            known = self.kind in PLAIN_TYPES
            return "" if known else f"type: one of {TYPE_NAMES}"
        precision, scale = self.precision_scale
        fits = 1 <= precision <= 38 and scale <= precision
        return "" if fits else "type: decimal(p,s) needs p of 1 to 38 and s of at most p"

    def _source_problem(self) -> str:
        if self.request is None:
            return ""
        if self.from_ is not None:
            return "request: not together with from"
        if self.request in REQUEST_FIELDS or _OWN_KEY.match(self.request):
            return ""
        return f"request: one of {', '.join(REQUEST_FIELDS)}, params.NAME, attributes.NAME"

    def _option_problem(self) -> str:
        power = str(self.divide or 10)
        if self.divide is not None and (self.kind != "decimal" or power.strip("0") != "1"):
            return "divide: a power of ten, and the type a decimal"
        if self.divide is not None and len(power) > 19:
            return "divide: at most 10^18"
        if self.round and self.kind != "decimal":
            return "round: for decimals only"
        numeric = self.thousands or self.decimal_point != "." or self.percent
        if numeric and self.kind not in NUMBERS:
            return "thousands, decimal_point, percent: for numbers only"
        if self.thousands == self.decimal_point:
            return "thousands: the same as decimal_point"
        if self.format is not None and self.kind not in ("date", "timestamp"):
            return "format: for dates and timestamps only"
        return self._format_problem() or self._zone_problem()

    def _format_problem(self) -> str:
        if self.format is None:
            return ""
        try:
            datetime.strptime("", self.format)  # noqa: DTZ007 (looked at, not used)
        except ValueError as error:
            what = str(error)
            if "bad directive" in what or "stray" in what:
                return f"format: {what}"
        except re.error:
            return "format: a directive that stands twice"
        return ""

    def _zone_problem(self) -> str:
        if self.zone is None:
            return ""
        if self.kind != "timestamp":
            return "zone: for timestamps only"
        if self.zone == "account":
            return ""
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            return "zone: not an IANA time zone"
        return ""


Columns = Annotated[dict[ColumnName, ColumnSpec], Field(min_length=1, max_length=500)]
"""The columns of a report, as a partner file declares them."""


def column_problems(
    columns: Mapping[str, ColumnSpec], source: Literal["json", "csv"], day_column: str | None
) -> list[str]:
    """Return what is wrong with a report's columns taken together, each with its path."""
    problems = []
    lowered: dict[str, str] = {}
    for name, spec in columns.items():
        twin = lowered.setdefault(name.lower(), name)
        if twin != name:
            problems.append(f"columns.{name}: differs from {twin} by case only")
        if source == "json" and spec.from_ is not None:
            try:
                jmespath.compile(spec.from_)
            except JMESPathError as error:
                problems.append(f"columns.{name}.from: {unparsed(error)}")
    if day_column is not None:
        day = columns.get(day_column)
        if day is None:
            problems.append("day_column: not among the columns")
        elif day.kind != "date":
            problems.append("day_column: its type is not date")
        elif day.optional:
            problems.append("day_column: optional, but every row needs its day")
    return problems
