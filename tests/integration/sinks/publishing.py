"""A process that publishes until it is killed; run by test_kill.

Prints the number of each request before and after it is published. The same number always makes
the same request with the same rows. The root is a folder, or ``s3:<port>``, with the key in the
environment.
"""

import os
import sys
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pyarrow as pa

from reportd.model.request import Request
from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from reportd.sinks.store import OutputRoot
from tests.s3server import open_store, settings_of

SECRET = "REPORTD_TEST_S3_SECRET"

FIRST = date(2026, 11, 1)
FORMATS = ("parquet", "csv", "jsonl.gz")
ACCOUNTS = 4


def request_of(number: int) -> Request:
    """Return a request of three days; every tenth run comes before those before it."""
    slot = FIRST + timedelta(days=number % 200 if number % 10 else 0)
    return Request(
        v=1,
        run=f"daily/{slot.isoformat()}T04:00Z#{1 + number // 200}",
        partner="acme",
        report="stats",
        account=str(number % ACCOUNTS),
        first_day=FIRST,
        last_day=FIRST + timedelta(days=2),
        formats=FORMATS,
        attributes={"number": str(number)},
    )


def tables_of(number: int, request: Request) -> dict[date, pa.Table]:
    """Return the rows of each day: they say which request they are of."""
    rows = 1 + number % 50
    return {
        day: pa.table(
            {
                "number": pa.array([number] * rows, pa.int64()),
                "day": pa.array([day] * rows, pa.date32()),
            }
        )
        for day in request.days()
    }


def publish(publisher: Publisher, number: int) -> None:
    """Publish one request."""
    request = request_of(number)
    targets = publisher.targets(request)
    publisher.publish(request, targets, tables_of(number, request), lambda: None)


def store_at(where: str) -> OutputRoot:
    """Open a root."""
    if where.startswith("s3:"):
        return open_store(settings_of(int(where.removeprefix("s3:")), os.environ[SECRET]))
    return LocalStore(Path(where))


def main(where: str, first: str) -> None:
    """Publish from a number on, for ever."""
    publisher = Publisher(store_at(where), PathTemplate())
    for number in count(int(first)):
        sys.stdout.write(f"begin {number}\n")
        sys.stdout.flush()
        publish(publisher, number)
        sys.stdout.write(f"done {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
