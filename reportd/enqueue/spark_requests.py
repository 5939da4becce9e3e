"""Makes the requests with Spark, writes them, reads them back, and compares.

Everything is an expression of Spark's own: no row goes through Python, none stays in the driver.
What the driver gets is a line for each partition of a topic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import orjson
from pyspark.sql import Column, DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - what everybody calls it

from reportd.config.secrets import Secret
from reportd.enqueue.plan import AskRow, Found, Ids, Offsets, RunPlan
from reportd.enqueue.runs import Starts
from reportd.enqueue.spark import translated
from reportd.enqueue.spark_accounts import Accounts
from reportd.model.run import RunId, TopicSpan

_ROW_SCHEMA = (
    "turn:int,partner:string,timezone:string,report:string,first_day:string,last_day:string,"
    "params:string,body:string,topic:string,key_scope:string"
)
_SINK = {
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": "20",
    "batch.size": "262144",
}
_SOURCE = {
    "max.poll.records": "20000",
    "max.partition.fetch.bytes": "8388608",
    "fetch.min.bytes": "262144",
    "fetch.max.wait.ms": "100",
}
_OFFSET_BITS = 40
_PARTITION_BITS = 15
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Kafka:
    """How Spark's source and sink reach the broker."""

    settings: Mapping[str, str | Secret] = field(repr=False)
    """In the words of Java's client."""
    group_prefix: str
    """What its consumer groups' names start with, for the broker's access rules."""

    def sink(self) -> dict[str, str]:
        """Return the sink's options, secrets included: not to be shown."""
        return self._options(_SINK)

    def source(self) -> dict[str, str]:
        """Return the source's options, secrets included: not to be shown."""
        return {**self._options(_SOURCE), "groupIdPrefix": self.group_prefix}

    def _options(self, base: Mapping[str, str]) -> dict[str, str]:
        given = {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in self.settings.items()
        }
        return {f"kafka.{name}": value for name, value in {**base, **given}.items()}


def make_requests(spark: SparkSession, accounts: Accounts, plan: RunPlan) -> DataFrame:
    """Return one row a request: id, topic, key, value, turn.

    The JSON is what `reportd.model.request.Request` reads, the id what `request_id` computes.
    """
    asks = _literal(spark, plan.rows(accounts.zones))
    ours = F.to_json(F.struct("account", "timezone", "currency", "credential", "attributes"))
    active = accounts.rows.where("active").select(
        "partner", "account", "timezone", "credential", ours.substr(2, 1 << 30).alias("ours")
    )
    fields = ("partner", "report", "account", "first_day", "last_day", "params")
    hashed = F.sha2(F.concat_ws("\n", F.lit(str(plan.run)), *fields), 256)
    key = (
        F.when(F.col("key_scope") == "partner", F.col("partner"))
        .when(F.col("key_scope") == "credential", F.col("credential"))
        .otherwise(F.col("account"))
    )
    value = F.concat(F.lit('{"id":"'), F.col("id"), F.lit('",'), "body", F.lit(","), "ours")
    return (
        active.join(F.broadcast(asks), ["partner", "timezone"])
        .withColumn("id", hashed.substr(1, 32))
        .select(
            "id",
            "topic",
            key.cast("binary").alias("key"),
            value.cast("binary").alias("value"),
            "turn",
        )
    )


def _literal(spark: SparkSession, rows: Sequence[AskRow]) -> DataFrame:
    """Return the rows as a table of Spark's own: ``createDataFrame`` would start Python workers."""
    text = orjson.dumps([asdict(row) for row in rows]).decode()
    schema = f"array<struct<{_ROW_SCHEMA}>>"
    parsed = F.from_json(F.lit(text), schema, {"mode": "FAILFAST"})
    return spark.range(1).select(F.inline(parsed))


def count_requests(requests: DataFrame) -> Ids:
    """Return what the requests are, without writing them."""
    with translated("counting requests"):
        return _ids(requests.agg(*_identity()).collect()[0])


def write_requests(requests: DataFrame, kafka: Kafka) -> Ids:
    """Write the requests, all accounts' first ask before any second; return what was written.

    Every record is confirmed by all in-sync replicas when it returns. Raises `BrokerError`.
    """
    counted = Observation()
    ordered = requests.observe(counted, *_identity()).sortWithinPartitions("turn")
    with translated("writing requests"):
        write_records(ordered.select("topic", "key", "value"), kafka)
    return _ids(Row(**counted.get))


def write_records(records: DataFrame, kafka: Kafka) -> None:
    """Write rows of topic, key and value; each is confirmed when it returns."""
    records.write.format("kafka").mode("append").options(**kafka.sink()).save()


def read_requests(
    spark: SparkSession, kafka: Kafka, run: RunId, starts: Starts, ends: Offsets
) -> DataFrame | None:
    """Return what lies between the offsets: id, topic, partition, offset.

    The id is null where a record is no request of the run. None if there is nothing to read.
    """
    spans = {
        topic: {
            number: (starts.get(topic, {}).get(number, 0), end)
            for number, end in parts.items()
            if starts.get(topic, {}).get(number, 0) < end
        }
        for topic, parts in ends.items()
    }
    spans = {topic: parts for topic, parts in spans.items() if parts}
    if not spans:
        return None

    def offsets(side: int) -> str:
        by_topic = {t: {str(n): span[side] for n, span in p.items()} for t, p in spans.items()}
        return orjson.dumps(by_topic).decode()

    parts = sum(len(p) for p in spans.values())
    records = (
        spark.read.format("kafka")
        .options(**kafka.source())
        .option("assign", orjson.dumps({t: sorted(p) for t, p in spans.items()}).decode())
        .option("startingOffsets", offsets(0))
        .option("endingOffsets", offsets(1))
        .option("minPartitions", max(parts, spark.sparkContext.defaultParallelism))
        .load()
    )
    return _ours(records, run)


def _ours(records: DataFrame, run: RunId) -> DataFrame:
    """Tell the run's requests: ours by their first bytes, others' are parsed."""
    text = F.col("value").cast("string")
    name = str(run)
    head, middle = '{"id":"', f'","v":1,"run":"{name}",'
    as_written = text.startswith(head) & (text.substr(len(head) + 33, len(middle)) == middle)
    parsed = F.from_json(text, "id string, run string")
    theirs = text.contains(orjson.dumps(name).decode()) & (parsed["run"] == name)
    found = F.when(as_written, text.substr(len(head) + 1, 32)).when(theirs, parsed["id"])
    id_ = F.col("found")
    # 32 hex digits in lower case; a regular expression would take longer than all the rest
    valid = (F.length(id_) == _ID_DIGITS) & F.unhex(id_).isNotNull() & (F.lower(id_) == id_)
    return records.select(found.alias("found"), "topic", "partition", "offset").select(
        F.when(valid, id_).alias("id"), "topic", "partition", "offset"
    )


def summarize(found: DataFrame) -> Found:
    """Count and hash the records of each partition, repeated ids as often as they come."""
    where = F.when(F.col("id").isNotNull(), F.col("offset"))
    with translated("reading requests back"):
        rows = (
            found.groupBy("topic", "partition")
            .agg(*_identity(), *_hash(), F.min(where).alias("low"), F.max(where).alias("high"))
            .collect()
        )
    return _together([(row["topic"], row["partition"], row) for row in rows if row["n"]])


def summarize_distinct(found: DataFrame, topics: Sequence[str]) -> Found:
    """Count and hash every id once, where it stands first; slower, for topics with repeats."""
    place = F.lit(-1)
    for number, topic in enumerate(topics):
        place = F.when(F.col("topic") == topic, F.lit(number)).otherwise(place)
    # Topic, partition and offset in one number: a plain hash aggregation, no objects
    at = (place * (1 << _PARTITION_BITS) + F.col("partition")).cast("long") * (1 << _OFFSET_BITS)
    code = at + F.col("offset")
    by_id = (
        found.where("id is not null")
        .groupBy("id")
        .agg(F.min(code).alias("low"), F.max(code).alias("high"))
    )
    part = F.shiftright("low", _OFFSET_BITS)
    with translated("reading requests back"):
        rows = (
            by_id.withColumn("place", part)
            # A copy in another partition (a key forwarded after growth) does not widen the span
            .withColumn("last", F.when(F.shiftright("high", _OFFSET_BITS) == part, F.col("high")))
            .groupBy("place")
            .agg(
                *_identity(),
                *_hash(),
                F.min("low").alias("low"),
                F.max(F.coalesce("last", "low")).alias("high"),
            )
            .collect()
        )
    mask = (1 << _OFFSET_BITS) - 1
    return _together(
        [
            (
                topics[row["place"] >> _PARTITION_BITS],
                row["place"] & ((1 << _PARTITION_BITS) - 1),
                Row(**{**row.asDict(), "low": row["low"] & mask, "high": row["high"] & mask}),
            )
            for row in rows
        ]
    )


def missing_requests(requests: DataFrame, found: DataFrame) -> DataFrame:
    """Return the requests whose ids are not among those found."""
    return requests.join(found.select("id"), "id", "left_anti")


def _identity() -> list[Column]:
    """Return the aggregates that two equal sets of ids have in common; null is no id."""
    mark = F.when(F.col("id").isNotNull(), F.xxhash64("id"))
    return [F.count("id").alias("n"), F.bit_xor(mark).alias("mark")]


def _hash() -> list[Column]:
    """Return `Manifest.ids_hash` in two halves: Spark has no unsigned 64 bits."""
    halves = (F.conv(F.col("id").substr(at, 8), 16, 10).cast("long") for at in (1, 9))
    return [
        F.bit_xor(h).alias(name) for h, name in zip(halves, ("hash_high", "hash_low"), strict=True)
    ]


def _ids(row: Row) -> Ids:
    return Ids(row["n"], row["mark"] or 0)


def _together(parts: Sequence[tuple[str, int, Row]]) -> Found:
    whole = mark = 0
    spans: dict[str, dict[int, tuple[int, int]]] = {}
    counts: dict[str, int] = {}
    for topic, partition, row in sorted(parts, key=lambda part: part[:2]):
        whole ^= (row["hash_high"] << 32) | row["hash_low"]
        mark ^= row["mark"]
        spans.setdefault(topic, {})[partition] = (row["low"], row["high"] + 1)
        counts[topic] = counts.get(topic, 0) + row["n"]
    return Found(
        Ids(sum(counts.values()), mark),
        f"{whole:016x}",
        tuple(TopicSpan(topic=t, requests=counts[t], spans=s) for t, s in spans.items()),
    )
