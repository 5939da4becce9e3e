"""Puts an enqueuer together from the configuration. The only wiring; the enqueuer's process."""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.clock import SystemClock
from reportd.config.cache import cache_folder
from reportd.config.load import Config, load
from reportd.config.schedule import Schedule, ask_problems, load_schedule
from reportd.enqueue.accounts import check_present
from reportd.enqueue.holder import is_gone, machine_name, process_name
from reportd.enqueue.java_client import java_settings
from reportd.enqueue.job import Enqueuer, Order, Outcome
from reportd.enqueue.runs import Holder
from reportd.enqueue.runs_topic import BrokerCluster
from reportd.enqueue.spark_engine import SparkEngine, spark_engine
from reportd.enqueue.spark_requests import Kafka
from reportd.errors import ConfigError
from reportd.partners.extending import catalogue_files
from reportd.partners.load import load_partners
from reportd.partners.partner import FORMATS, Partner

logger = logging.getLogger(__name__)


def enqueue(config_path: Path, schedule_name: str, order: Order) -> list[Outcome]:
    """Enqueue a schedule's due slots, by the configuration.

    ``schedule_name`` is a schedule of the configuration's folder, or a path to one. Raises
    `ConfigError` with every problem, and `UnavailableError`.
    """
    config = load(config_path)
    schedule, partners = _load(config, schedule_name)
    with enqueuer(config, schedule, partners) as job:
        return job.run(order)


@contextmanager
def enqueuer(
    config: Config, schedule: Schedule, partners: dict[str, Partner]
) -> Iterator[Enqueuer]:
    """Yield an enqueuer that talks to the configured broker; Spark starts when it is needed."""
    kafka = config.settings.kafka
    settings = schedule.settings
    spark = {
        name: value
        for name, value in settings.spark.items()
        if not name.startswith("spark.reportd.")
    }
    java = Kafka(java_settings(kafka, settings.spark), f"{kafka.prefix}-enqueue")
    check_present(settings.accounts)

    def engine() -> AbstractContextManager[SparkEngine]:
        return spark_engine(spark, cache_folder(), settings.accounts, partners, java)

    topics = Topics(kafka.prefix)
    with BrokerCluster(client_settings(kafka), topics, f"{kafka.prefix}-enqueue") as cluster:
        yield Enqueuer(
            schedule,
            partners,
            topics,
            cluster,
            engine,
            Holder(machine_name(config.settings.workers.machine_id), process_name()),
            clock=SystemClock(),
            pause=threading.Event().wait,
            gone=is_gone,
        )


def _load(config: Config, name: str) -> tuple[Schedule, dict[str, Partner]]:
    """Load schedule and partners; all problems of both at once."""
    problems: list[str] = []
    partners: dict[str, Partner] = {}
    schedule: Schedule | None = None
    try:
        partners = load_partners(config.settings.partners_folder)
    except ConfigError as error:
        problems += error.problems
    try:
        schedule = load_schedule(_schedule_path(config, name), config.secrets)
    except ConfigError as error:
        problems += error.problems
    if schedule is not None and not problems:
        reports = {partner.name: partner.reports for partner in partners.values()}
        problems += ask_problems(schedule, reports, FORMATS, catalogue_files())
    if problems or schedule is None:
        raise ConfigError(*problems)
    return schedule, partners


def _schedule_path(config: Config, name: str) -> Path:
    if "/" in name or name.endswith(".toml"):
        return Path(name)
    return config.settings.schedules_folder / f"{name}.toml"
