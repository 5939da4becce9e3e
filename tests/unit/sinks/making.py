"""Makes the requests, columns and tables that the tests of sinks are about."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from reportd.model.request import Request
from reportd.sinks.columns import ColumnSpec
from reportd.sinks.table import Context, Schema

DAY = date(2026, 11, 21)
RUN = "daily/2026-11-22T04:00Z#1"
OLDER_RUN = "daily/2026-11-21T04:00Z#1"
NEWER_RUN = "backfill/2026-11-23T04:00Z#1"


def a_request(**fields: Any) -> Request:
    """Return a request of one day, or with other fields."""
    return Request.model_validate(
        {
            "v": 1,
            "run": RUN,
            "partner": "acme",
            "report": "stats",
            "account": "1",
            "first_day": DAY,
            "last_day": fields.get("first_day", DAY),
            "formats": ("parquet",),
            **fields,
        }
    )


def a_context(**fields: Any) -> Context:
    """Return the context of a request with these fields, downloaded at a round time."""
    return Context(a_request(**fields), 1_700_000_000.5)


def a_schema(columns: Mapping[str, Any]) -> Schema:
    """Compile columns as a partner file declares them."""
    return Schema.compile({name: ColumnSpec.model_validate(one) for name, one in columns.items()})


def a_table(names: Iterable[str] = ("a", "b"), day: date = DAY) -> pa.Table:
    """Return a table of two columns, a row a name."""
    texts = list(names)
    columns = {"name": pa.array(texts, pa.string()), "day": pa.array([day] * len(texts))}
    return pa.table(columns, schema=pa.schema([("name", pa.string()), ("day", pa.date32())]))


def nothing_forbids() -> None:
    """Guard nothing."""
