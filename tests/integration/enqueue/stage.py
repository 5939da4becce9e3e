"""A configuration with three partners, one for each key rule, and an enqueuer for it."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from operator import xor
from pathlib import Path

from pyspark.sql import SparkSession

from reportd.broker.admin import Admin
from reportd.broker.message import Message
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings, client_settings
from reportd.broker.topics import Topics, topic_plans
from reportd.clock import Clock, SystemClock
from reportd.config.schedule import load_schedule
from reportd.config.settings import KafkaSettings
from reportd.enqueue.holder import is_gone, process_name
from reportd.enqueue.java_client import java_settings
from reportd.enqueue.job import Enqueuer, Order, Outcome
from reportd.enqueue.runs import Holder
from reportd.enqueue.runs_topic import BrokerCluster
from reportd.enqueue.spark_accounts import read_accounts
from reportd.enqueue.spark_engine import SparkEngine
from reportd.enqueue.spark_requests import Kafka
from reportd.errors import BrokerError
from reportd.model.request import Request
from reportd.model.run import Manifest, RunRecord
from reportd.partners.load import load_partners

PLAIN = Order()
PARTITIONS = 3
SCOPES = {"meta": "account", "acme": "credential", "tiktok": "partner"}
PARTNER = """
hosts = ["api.example.com"]
ready_hours = 3
limits = [{ per = "%s", calls = 5, seconds = 1, meter = "sliding" }]
[reports.campaigns]
get = "https://api.example.com/{{ account.id }}?from={{ from }}&to={{ to }}&l={{ params.level }}"
params = { level = { default = "campaign" } }
rows = "data[]"
day_column = "date"
columns = { date = "date", clicks = "int64" }
"""
SCHEDULE = """
calendar = "*-*-* 04:00 Europe/Zurich"
deadline = "07:00 Europe/Zurich"
accounts = "%s"
[[ask]]
report = "meta.campaigns"
days = "1..7"
params = { level = 'a "quoted" \\ ünïcode {{ 7*7 }}' }
[[ask]]
report = "acme.campaigns"
days = "1..7"
formats = ["parquet", "csv.gz"]
[[ask]]
report = "tiktok.campaigns"
days = "1..20"
split_days = 10
class = "backfill"
"""


class DyingCluster(BrokerCluster):
    """Its process is gone when it should write the manifest, as after kill -9."""

    def write(self, key: str, record: RunRecord) -> None:
        if isinstance(record, Manifest):
            raise BrokerError("killed")
        super().write(key, record)


@dataclass
class Stage:
    """One prefix of topics, one folder of configuration."""

    folder: Path
    servers: str
    prefix: str
    spark: SparkSession

    @property
    def settings(self) -> ClientSettings:
        return client_settings(KafkaSettings(servers=self.servers))

    @property
    def topics(self) -> Topics:
        return Topics(self.prefix)

    def set_up(self) -> None:
        """Write the files, make the topics."""
        (self.folder / "partners").mkdir(parents=True)
        for name, scope in SCOPES.items():
            (self.folder / "partners" / f"{name}.toml").write_text(PARTNER % scope)
        self.schedule("accounts.csv")
        Admin(self.settings).create(
            topic_plans(self.prefix, dict.fromkeys(SCOPES, PARTITIONS), replication=1)
        )
        self._await_leaders()

    def _await_leaders(self) -> None:
        """Wait until every new partition answers: right after their creation some do not."""
        reader = PartitionReader(self.settings, group=self.prefix)
        topics = {t: n for t, n in Admin(self.settings).topics().items() if self.prefix in t}
        left = {(topic, number) for topic, count in topics.items() for number in range(count)}
        pause = threading.Event()
        for _ in range(600):
            for part in sorted(left):
                with suppress(BrokerError):
                    reader.watermarks(part)
                    left.discard(part)
            if not left:
                break
            pause.wait(0.1)
        reader.close()

    def schedule(self, accounts: str) -> None:
        (self.folder / "daily.toml").write_text(SCHEDULE % accounts)

    def accounts(self, text: str) -> None:
        (self.folder / "accounts.csv").write_text(text)

    def enqueue(
        self,
        order: Order = PLAIN,
        kind: type[BrokerCluster] = BrokerCluster,
        machine: str = "vm",
        clock: Clock = SystemClock(),  # noqa: B008 - it holds nothing
    ) -> list[Outcome]:
        """Enqueue as `reportd.enqueue.compose` does, with the session that is there."""
        schedule = load_schedule(self.folder / "daily.toml")
        partners = load_partners(self.folder / "partners")
        kafka = Kafka(java_settings(KafkaSettings(servers=self.servers), {}), self.prefix)

        @contextmanager
        def engine() -> Iterator[SparkEngine]:
            table = read_accounts(self.spark, schedule.settings.accounts, partners)
            try:
                yield SparkEngine(self.spark, table, kafka)
            finally:
                # A later test's table may have this one's path
                self.spark.catalog.clearCache()

        with kind(self.settings, self.topics, self.prefix) as cluster:
            return Enqueuer(
                schedule,
                partners,
                self.topics,
                cluster,
                engine,
                Holder(machine, process_name()),
                clock=clock,
                pause=threading.Event().wait,
                gone=is_gone,
            ).run(order)

    def read(self, *topics: str) -> list[Message]:
        reader = PartitionReader(self.settings, group=self.prefix)
        try:
            return [message for topic in topics for message in reader.read_all(topic)]
        finally:
            reader.close()

    def messages(self) -> list[Message]:
        """Read all that lies in the partners' topics."""
        return self.read(
            *(self.topics.requests(name) for name in SCOPES),
            *(self.topics.backfill(name) for name in SCOPES),
        )

    def requests(self) -> list[Request]:
        return [Request.from_json(message.value) for message in self.messages()]


def ids_hash(ids: Iterable[str]) -> str:
    """Hash ids as `Manifest.ids_hash` is defined."""
    return f"{reduce(xor, (int(each[:16], 16) for each in set(ids)), 0):016x}"
