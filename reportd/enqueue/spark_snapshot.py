"""Keeps the topic ``accounts`` as the last enqueue saw the accounts table.

Only rows that are new or different are written. A row that has gone from the table stays, with
``active`` false: what was downloaded for it still has to be told from what is missing. A row that
another schedule's table brought is left to that one.
"""

from collections.abc import Collection, Iterator

import orjson
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - what everybody calls it

from reportd.enqueue.plan import Offsets
from reportd.enqueue.spark import translated
from reportd.enqueue.spark_accounts import Accounts
from reportd.enqueue.spark_requests import Kafka, write_records
from reportd.model.account import Account

_ACTIVE, _INACTIVE = '"active":true,', '"active":false,'


def write_snapshot(
    spark: SparkSession, accounts: Accounts, kafka: Kafka, ends: Offsets, schedule: str
) -> int:
    """Write what has changed; return how many records that were.

    ``ends`` are the topic's end offsets, of that topic alone. Raises `BrokerError`.
    """
    (topic,) = ends
    counted = Observation()
    changed = _changed(accounts, _last(spark, kafka, ends), schedule)
    records = changed.observe(counted, F.count(F.lit(1)).alias("n"))
    with translated("writing the accounts' snapshot"):
        write_records(records.select(F.lit(topic).alias("topic"), "key", "value"), kafka)
    return int(counted.get["n"])


def active_accounts(accounts: Accounts, partners: Collection[str]) -> Iterator[Account]:
    """Yield the active accounts of some partners, a part of the table at a time."""
    rows = accounts.rows.where(F.col("active") & F.col("partner").isin(*partners))
    with translated("reading the accounts"):
        for row in rows.select(F.concat(_fields(), F.lit("}"))).toLocalIterator():
            yield Account.from_json(row[0].encode())


def _last(spark: SparkSession, kafka: Kafka, ends: Offsets) -> DataFrame:
    """Return key and value of the last record of each key."""
    parts = {topic: {str(n): end for n, end in each.items()} for topic, each in ends.items()}
    return (
        spark.read.format("kafka")
        .options(**kafka.source())
        .option("assign", orjson.dumps({t: sorted(map(int, p)) for t, p in parts.items()}).decode())
        .option("startingOffsets", "earliest")
        .option("endingOffsets", orjson.dumps(parts).decode())
        .load()
        .groupBy(F.col("key").cast("string").alias("key"))
        .agg(F.max_by(F.col("value").cast("string"), "offset").alias("was"))
        .where("was is not null")
    )


def _changed(accounts: Accounts, last: DataFrame, schedule: str) -> DataFrame:
    source = f',"schedule":{orjson.dumps(schedule).decode()}}}'
    now = accounts.rows.select(
        F.concat_ws("/", "partner", "account").alias("key"), _fields().alias("fields")
    )
    both = now.join(last, "key", "full_outer")
    gone = F.col("fields").isNull() & F.col("was").contains(_ACTIVE)
    gone &= F.col("was").endswith(source)
    differs = F.col("fields").isNotNull() & ~F.coalesce(
        F.startswith(F.col("was"), F.concat(F.col("fields"), F.lit(',"schedule":'))), F.lit(False)
    )
    value = F.when(differs, F.concat("fields", F.lit(source))).when(
        gone, F.replace(F.col("was"), F.lit(_ACTIVE), F.lit(_INACTIVE))
    )
    return both.select("key", value.alias("value")).where("value is not null")


def _fields() -> Column:
    """Return a record of `reportd.model.account.Account` up to ``schedule``, unclosed."""
    record = F.to_json(
        F.struct(
            F.lit(1).alias("v"),
            "partner",
            "account",
            "timezone",
            "currency",
            "credential",
            "active",
            "attributes",
        )
    )
    return record.substr(F.lit(1), F.length(record) - 1)
