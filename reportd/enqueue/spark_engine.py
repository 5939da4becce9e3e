"""What the job has done by Spark: one session, one accounts table, any number of runs."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from reportd.config.accounts import AccountsSource
from reportd.config.secrets import Secret
from reportd.enqueue.plan import Found, Ids, Offsets, RunPlan
from reportd.enqueue.runs import Starts
from reportd.enqueue.spark import session
from reportd.enqueue.spark_accounts import Accounts, read_accounts
from reportd.enqueue.spark_requests import (
    Kafka,
    count_requests,
    make_requests,
    missing_requests,
    read_requests,
    summarize,
    summarize_distinct,
    write_requests,
)
from reportd.enqueue.spark_snapshot import active_accounts, write_snapshot
from reportd.errors import BrokerError
from reportd.model.account import Account

logger = logging.getLogger(__name__)


class SparkEngine:
    """Plans into topics. Not for use from several threads."""

    def __init__(self, spark: SparkSession, accounts: Accounts, kafka: Kafka) -> None:
        """Take a session and a checked table."""
        self._spark = spark
        self._kafka = kafka
        self.accounts = accounts

    def enqueue(
        self, plan: RunPlan, starts: Starts, ends: Callable[[], Offsets]
    ) -> tuple[Found, int]:
        """Write what of the plan is not in its topics yet.

        Returns what the topics hold of the run, read back, and how many requests were written.
        ``ends`` are the topics' end offsets when it is called. Raises `BrokerError`.
        """
        requests = make_requests(self._spark, self.accounts, plan)
        before = read_requests(self._spark, self._kafka, plan.run, starts, ends())
        there = summarize(before) if before is not None else None
        if before is None or there is None or not there.requests:
            planned = written = write_requests(requests, self._kafka)
        else:
            planned = count_requests(requests)
            if there.ids == planned:
                return there, 0
            written = write_requests(missing_requests(requests, before), self._kafka)
        after = read_requests(self._spark, self._kafka, plan.run, starts, ends())
        found = summarize(after) if after is not None else Found(Ids(0, 0), f"{0:016x}")
        if after is not None and found.ids != planned:
            found = summarize_distinct(after, plan.topics)
            lacking = count_requests(missing_requests(requests, after)).requests
            if lacking:
                raise BrokerError(f"{plan.run}: {lacking} requests are not there; try again")
        elif after is None and planned.requests:
            raise BrokerError(f"{plan.run}: its requests are not there; try again")
        return found, written.requests

    def snapshot(self, ends: Offsets, schedule: str) -> int:
        """Bring the topic ``accounts`` up to the table; return how many records were written."""
        return write_snapshot(self._spark, self.accounts, self._kafka, ends, schedule)

    def active_accounts(self, partners: Collection[str]) -> Iterator[Account]:
        """Yield the active accounts of some partners."""
        return active_accounts(self.accounts, partners)


@contextmanager
def spark_engine(
    settings: Mapping[str, str | Secret],
    cache: Path,
    source: AccountsSource,
    partners: Iterable[str],
    kafka: Kafka,
) -> Iterator[SparkEngine]:
    """Start Spark, read and check the accounts, yield the engine; stop Spark.

    Raises `ConfigError` when the table is wrong, `UnavailableError` when Spark does not start.
    """
    with session(settings, cache) as spark:
        logger.info("Spark runs", extra={"action": "spark_started"})
        accounts = read_accounts(spark, source, partners)
        logger.info(
            "%d accounts, %d of them active",
            accounts.total,
            sum(accounts.active.values()),
            extra={"action": "accounts_read"},
        )
        yield SparkEngine(spark, accounts, kafka)
