"""Reads the accounts table with Spark, checks every row, and hands over what a run needs.

The rows stay with Spark; the driver gets counts by partner and zone, or the rows that are wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 - what everybody calls it
from pyspark.sql.types import StringType, StructField, StructType

from reportd.config.accounts import AccountsSource
from reportd.enqueue.accounts import (
    CONTROL,
    CORRUPT,
    DOTS,
    FALSE,
    MAX_LENGTH,
    REQUIRED,
    SHOWN,
    TRUE,
    BadRow,
    Layout,
    describe,
    layout,
    name_of,
    reader_options,
    without_secrets,
)
from reportd.enqueue.plan import unknown_zones
from reportd.enqueue.spark import translated
from reportd.errors import ConfigError

FIELDS = (*REQUIRED, "timezone", "currency", "credential")
MAX_GROUPS = 20_000
"""More (partner, zone) pairs than there can be of right ones."""

_FILES = frozenset({"csv", "json", "parquet", "orc", "text", "avro"})


@dataclass(frozen=True, slots=True)
class Accounts:
    """The checked table."""

    rows: DataFrame = field(repr=False)
    """partner, account, timezone, currency, credential, active, attributes (a struct)."""
    active: Mapping[tuple[str, str], int]
    """How many active accounts each (partner, zone) has."""
    samples: Mapping[tuple[str, str], Mapping[str, Any]]
    """One active account of each (partner, zone): the fields of a request that come from it."""
    total: int

    @property
    def zones(self) -> dict[str, set[str]]:
        """The zones of each partner's active accounts."""
        zones: dict[str, set[str]] = {}
        for partner, zone in self.active:
            zones.setdefault(partner, set()).add(zone)
        return zones


def read_accounts(spark: SparkSession, source: AccountsSource, partners: Iterable[str]) -> Accounts:
    """Read and check the table; it is kept, so that every later look sees the same rows.

    Raises `ConfigError` naming file, row and column of everything that is wrong.
    """
    known = sorted(partners)

    def refuse(text: str) -> ConfigError:
        return ConfigError(without_secrets(source, text))

    with translated(f"{name_of(source)}: Spark cannot read it", refuse):
        raw = _read(spark, source)
        columns = {f.name: f.dataType.simpleString() for f in raw.schema if f.name != CORRUPT}
        found = layout(source, columns)
        clean = _clean(raw, found)
        broken = reduce(Column.__or__, [rule for _, _, rule in _rules(clean, found, known)])
        rows = (
            clean.withColumn("broken", broken)
            .withColumn("active", F.col("active") == F.lit("true"))
            .drop(CORRUPT)
            # By what is unique: no second shuffle tells who stands in the table twice
            .repartition(2 * spark.sparkContext.defaultParallelism, "partner", "account")
            .persist()
        )
        groups = _groups(rows)
        wrong_zones = unknown_zones(str(group["timezone"]) for group in groups)
        if wrong_zones or any(group["broken"] or group["most"] > 1 for group in groups):
            rows.unpersist()
            raise _explain(source, raw, found, known, wrong_zones)
    total = sum(group["n"] for group in groups)
    if not total:
        raise ConfigError(f"{name_of(source)}: the table is empty: it has no rows")
    used = {(group["partner"], group["timezone"]): group for group in groups if group["active"]}
    return Accounts(
        rows.drop("broken"),
        {key: int(group["active"]) for key, group in used.items()},
        {key: group["sample"].asDict(recursive=True) for key, group in used.items()},
        total,
    )


def _groups(rows: DataFrame) -> list[Any]:
    """Return, for each (partner, zone), what there is to know about its rows."""
    sample = F.struct("account", "timezone", "currency", "credential", "attributes")
    return (
        rows.groupBy("partner", "account")
        .agg(
            F.count(F.lit(1)).alias("n"),
            F.first("timezone").alias("timezone"),
            F.max("broken").alias("broken"),
            F.max("active").alias("active"),
            F.first(sample).alias("sample"),
        )
        .groupBy("partner", "timezone")
        .agg(
            F.sum("n").alias("n"),
            F.max("n").alias("most"),
            F.max("broken").alias("broken"),
            F.sum(F.col("active").cast("long")).alias("active"),
            F.first(F.when(F.col("active"), F.col("sample")), ignorenulls=True).alias("sample"),
        )
        .limit(MAX_GROUPS)
        .collect()
    )


def _read(spark: SparkSession, source: AccountsSource) -> DataFrame:
    if source.table is not None:
        return spark.read.table(source.table)
    reader = spark.read.format(str(source.format)).options(**reader_options(source))
    if source.format != "csv":
        return reader.load(source.path) if source.path else reader.load()
    # All is text, with a place for the rows that have too few or too many fields
    header = reader.load(source.path).columns
    if not header:
        return spark.createDataFrame([], StructType([]))
    fields = [StructField(name, StringType()) for name in (*header, CORRUPT)]
    reader = reader.option("columnNameOfCorruptRecord", CORRUPT)
    return reader.schema(StructType(fields)).load(source.path)


def _clean(raw: DataFrame, found: Layout, *also: str) -> DataFrame:
    """Return the columns as a run needs them, all text; what is wrong is still in them."""

    def text(column: str) -> Column:
        return F.coalesce(F.col(f"`{column}`").cast("string"), F.lit(""))

    def known(name: str, default: str) -> Column:
        if name not in found.known:
            return F.lit(default)
        given = text(found.known[name])
        return F.when(given == "", F.lit(default)).otherwise(given) if default else given

    active = known("active", "true")
    attributes = [text(name).alias(name) for name in found.attributes]
    return raw.select(
        known("partner", "").alias("partner"),
        known("account", "").alias("account"),
        known("timezone", "UTC").alias("timezone"),
        known("currency", "").alias("currency"),
        known("credential", "").alias("credential"),
        F.when(F.lower(active).isin(*TRUE), F.lit("true"))
        .when(F.lower(active).isin(*FALSE), F.lit("false"))
        .otherwise(active)
        .alias("active"),
        F.struct(*attributes).alias("attributes"),
        (F.col(CORRUPT) if CORRUPT in raw.columns else F.lit(None).cast("string")).alias(CORRUPT),
        *also,
    )


def _rules(
    clean: DataFrame, found: Layout, partners: Sequence[str]
) -> list[tuple[str, str, Column]]:
    """Return (column, rule, condition that breaks it) for each rule that a row alone can break."""
    texts = [(name, _value(name)) for name in (*FIELDS, *found.attributes)]
    partner = F.col("partner")
    return [
        ("", "corrupt", F.col(CORRUPT).isNotNull()),
        *((name, "empty", F.col(name) == "") for name in REQUIRED),
        *((name, "long", F.length(value) > MAX_LENGTH) for name, value in texts),
        *((name, "control", value.rlike(CONTROL)) for name, value in texts),
        ("partner", "partner", (partner != "") & ~partner.isin(*partners)),
        ("account", "dots", F.col("account").rlike(DOTS)),
        ("active", "active", ~F.col("active").isin("true", "false")),
    ]


def _value(column: str) -> Column:
    if column in {*FIELDS, "active"}:
        return F.col(column)
    return F.col(f"attributes.`{column}`") if column else F.col(CORRUPT)


def _explain(
    source: AccountsSource,
    raw: DataFrame,
    found: Layout,
    partners: Sequence[str],
    wrong_zones: Sequence[str],
) -> ConfigError:
    """Read the table once more, with row numbers, for the rows that are wrong."""
    # A parser that fills what is missing with nulls would say three things of a torn row
    is_file = source.format in _FILES
    file = F.col("_metadata.file_path") if is_file else F.lit("")
    placed = raw.select("*", file.alias("_file"), F.monotonically_increasing_id().alias("_at"))
    order = Window.partitionBy("_file").orderBy("_at")
    numbered = _clean(placed.withColumn("_row", F.row_number().over(order)), found, "_file", "_row")
    zones = F.col("timezone").isin(*wrong_zones[:1000])
    rules = [*_rules(numbered, found, partners), ("timezone", "zone", zones)]
    torn = F.col(CORRUPT).isNotNull()
    findings = [
        F.when(rule & (~torn if column else torn), _finding(column, name, _value(column)))
        for column, name, rule in rules
    ]
    again = F.count(F.lit(1)).over(Window.partitionBy("partner", "account")) > 1
    numbered = numbered.withColumn("_again", again)
    whole = F.concat_ws("/", "partner", "account")
    findings.append(
        F.when(
            F.col("_again") & ~torn & (F.col("account") != ""), _finding("account", "twice", whole)
        )
    )
    bad = (
        numbered.select(
            "_file", "_row", F.explode(F.array_compact(F.array(*findings))).alias("bad")
        )
        .select("_file", "_row", "bad.*")
        .persist()
    )
    try:
        total = bad.count()
        first = bad.orderBy("_file", "_row").limit(SHOWN).collect()
    finally:
        bad.unpersist()
    own = (source.path or "").rpartition("/")[2]
    rows = [
        BadRow(
            row=each["_row"],
            file="" if (name := each["_file"].rpartition("/")[2]) == own else name,
            column=found.known.get(each["column"], each["column"]),
            rule=each["rule"],
            value=each["value"],
        )
        for each in first
    ]
    return describe(source, rows, total, partners)


def _finding(column: str, rule: str, value: Column) -> Column:
    return F.struct(F.lit(column).alias("column"), F.lit(rule).alias("rule"), value.alias("value"))
