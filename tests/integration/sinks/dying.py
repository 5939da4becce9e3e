"""Processes that publish into a bucket and kill themselves at each step; run by test_s3.

One forks them all, as the supervisor does: everything is imported, and nothing of S3 was started.
The n-th has account n, and dies right before its n-th request that changes something.
"""

import os
import signal
import sys
from datetime import date, timedelta
from itertools import count
from typing import Any

import pyarrow as pa

from reportd.model.request import Request
from reportd.sinks.objects import Objects
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from tests.integration.sinks.publishing import store_at

FIRST = date(2026, 11, 20)
FORMATS = ("parquet", "csv")
RUN = "daily/2026-11-23T04:00Z#1"
OLDER_RUN = "daily/2026-11-22T04:00Z#1"
WRITES = 2 * 3
"""Two days, a Parquet file, a CSV file and its receipt each: so many requests stage them."""
STEPS = 3 * WRITES
"""Then they are copied to their names, and the staged ones deleted."""


def request_of(number: int, run: str = RUN) -> Request:
    """Return a process's request."""
    return Request(
        v=1,
        run=run,
        partner="acme",
        report="stats",
        account=str(number),
        first_day=FIRST,
        last_day=FIRST + timedelta(days=1),
        formats=FORMATS,
    )


def publish(publisher: Publisher, number: int, run: str = RUN) -> None:
    """Publish a process's request: its rows tell the run."""
    request = request_of(number, run)
    tables = {day: pa.table({"run": [run], "day": [day]}) for day in request.days()}
    publisher.publish(request, publisher.targets(request), tables, lambda: None)


def die_at(nth: int) -> None:
    """Kill this process before the n-th request from now on that changes something."""
    steps = count(1)

    def dying(real: Any) -> Any:
        def step(*args: Any) -> Any:
            if next(steps) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return step

    for name in ("write", "copy", "delete"):
        setattr(Objects, name, dying(getattr(Objects, name)))


def main(where: str) -> None:
    """Fork one process after the other; print how each ended."""
    for number in range(1, STEPS + 2):
        pid = os.fork()  # noqa: TID251 - plays the supervisor, which forks
        if pid == 0:
            publisher = Publisher(store_at(where), PathTemplate())
            publish(publisher, number, OLDER_RUN)
            die_at(number)
            publish(publisher, number)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
