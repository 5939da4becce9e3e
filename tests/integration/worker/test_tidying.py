"""What is finished and old goes from the topics; what is open or young stays."""

import os
import time
from pathlib import Path

import pytest

from reportd.broker.admin import Admin
from reportd.broker.producer import Producer
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics, topic_plans
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka
from reportd.sinks.local import LocalStore
from reportd.sinks.spool import Spool
from reportd.worker.events import Events
from reportd.worker.tidying import DAY_SECONDS, Tidier, Tidy, trim

RECORDS = 10


@pytest.fixture
def admin(kafka: EmbeddedKafka, topic_prefix: str) -> Admin:
    """Make a partition with ten records, stamped by the broker."""
    settings = client_settings(KafkaSettings(servers=kafka.servers, prefix=topic_prefix))
    admin = Admin(settings)
    admin.create(topic_plans(topic_prefix, {"acme": 1}, 1))
    producer = Producer(settings)
    for _ in range(RECORDS):
        producer.send(Topics(topic_prefix).requests("acme"), b"{}", partition=0)
    assert producer.flush(30) == 0
    return admin


@pytest.mark.parametrize(
    ("finished", "days_later", "first_left"),
    [(0, 20, 0), (4, 20, 4), (RECORDS, 20, RECORDS), (RECORDS, 1, 0)],
)
def test_only_finished_and_old_records_go(
    admin: Admin, topic_prefix: str, finished: int, days_later: int, first_left: int
) -> None:
    """The first offset left is the first that is open, or younger than 14 days."""
    part = (Topics(topic_prefix).requests("acme"), 0)
    tidy = Tidy({part: finished}, {part: 14 * DAY_SECONDS}, frozenset())

    trim(admin, tidy, time.time() + days_later * DAY_SECONDS)

    assert admin.begin_offsets([part])[part] == first_left


def test_left_over_spool_goes_by_age(admin: Admin, tmp_path: Path) -> None:
    """An old answer of an open request stays; of a request nobody knows it goes."""
    store = LocalStore(tmp_path)
    spool = Spool(store)
    files = {key: spool.write(key, 0, 0, 1, b"rows").file for key in ("aa11", "bb22", "cc33")}
    long_ago = time.time() - 30 * DAY_SECONDS
    for key in ("aa11", "bb22"):
        os.utime(tmp_path / "_reportd" / "spool" / files[key], (long_ago, long_ago))

    tidier = Tidier(lambda: admin, store, spool, time.time, Events())
    tidier.tidy(Tidy({}, {}, frozenset({"aa11"})))

    left = sorted(path.name[:4] for path in (tmp_path / "_reportd" / "spool").rglob("*.zst"))
    assert left == ["aa11", "cc33"]
