"""A request: one report for one account and a range of days. One message; see docs/records.rst."""

import hashlib
from datetime import date, timedelta
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, model_validator

from reportd.model.base import Name, Record, Text

RequestClass = Literal["daily", "restatement", "backfill"]
CLASSES: tuple[RequestClass, ...] = ("daily", "restatement", "backfill")
MAX_DAYS = 400

ParamValue = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]


def request_id(  # one field a parameter: it is the definition of the id
    run: str, partner: str, report: str, account: str, first: str, last: str, params: bytes
) -> str:
    """Return the id: SHA-256 (first 32 hex digits) of the seven fields joined by newlines.

    ``first`` and ``last`` are ISO dates; ``params`` is compact JSON with sorted keys. Spark
    computes the same in `reportd.enqueue.spark_requests`.
    """
    text = "\n".join((run, partner, report, account, first, last)).encode() + b"\n" + params
    return hashlib.sha256(text).hexdigest()[:32]


def canonical_params(params: dict[str, str]) -> bytes:
    """Return the parameters as the id hashes them."""
    return orjson.dumps(params, option=orjson.OPT_SORT_KEYS)


class Request(Record):
    """One message of ``requests.<partner>`` or ``backfill.<partner>``.

    An id may be left out by other producers; one that is there must be the fields' hash.
    """

    v: Literal[1]
    id: str = ""
    run: Text
    partner: Name
    report: Name
    account: Annotated[Text, Field(min_length=1)]
    first_day: date
    last_day: date
    params: Annotated[dict[Name, ParamValue], Field(max_length=64)] = {}
    formats: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]
    class_: RequestClass = Field("daily", alias="class")
    not_before: float | None = None
    """Epoch seconds before which the data cannot be complete: until then it is ``scheduled``."""
    timezone: Text = "UTC"
    currency: Text = ""
    credential: Text = ""
    attributes: Annotated[dict[str, Text], Field(max_length=64)] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_id(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("id"):
            names = ("run", "partner", "report", "account", "first_day", "last_day")
            run, partner, report, account, first, last = (str(data.get(name)) for name in names)
            try:
                params = canonical_params(data.get("params", {}))
            except TypeError:
                return data
            data = {**data, "id": request_id(run, partner, report, account, first, last, params)}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.last_day < self.first_day:
            raise ValueError("last_day is before first_day")
        if (self.last_day - self.first_day).days >= MAX_DAYS:
            raise ValueError(f"more than {MAX_DAYS} days")
        if self.id != request_id(
            self.run,
            self.partner,
            self.report,
            self.account,
            self.first_day.isoformat(),
            self.last_day.isoformat(),
            canonical_params(self.params),
        ):
            raise ValueError("id is not the hash of the request's fields")
        return self

    @classmethod
    def unreadable(cls, identity: str, partner: str) -> "Request":
        """Return what stands for a message that does not validate; it is never called."""
        day = date(1970, 1, 1)
        return Request.model_construct(
            v=1,
            id=identity,
            run="",
            partner=partner,
            report="",
            account="",
            first_day=day,
            last_day=day,
            formats=(),
        )

    def log_fields(self) -> dict[str, str]:
        """Return what the log calls this request by, without what is empty."""
        found = {
            "partner": self.partner,
            "report": self.report,
            "account": self.account,
            "request": self.id,
            "run": self.run,
        }
        return {name: value for name, value in found.items() if value}

    def days(self) -> list[date]:
        """Return every day asked for, in order."""
        count = (self.last_day - self.first_day).days + 1
        return [self.first_day + timedelta(days=n) for n in range(count)]
