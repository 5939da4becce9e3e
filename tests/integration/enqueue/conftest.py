"""One Spark session for all tests of a file, since each costs ten seconds.

Not for longer: py4j has a thread that sleeps, and unit tests in the same process may not.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reportd.config.cache import cache_folder
from reportd.demo.kafka import EmbeddedKafka
from reportd.enqueue.spark import session
from tests.integration.enqueue.stage import Stage


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with session({"spark.master": "local[2]"}, cache_folder()) as found:
        yield found


@pytest.fixture
def stage(tmp_path: Path, kafka: EmbeddedKafka, topic_prefix: str, spark: SparkSession) -> Stage:
    found = Stage(tmp_path / "conf", kafka.servers, topic_prefix, spark)
    found.set_up()
    return found
