"""The command itself, killed in the middle and started again."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reportd.broker.admin import Admin
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics, topic_plans
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE
from reportd.model.request import Request
from reportd.model.run import Claim, Manifest, parse_run_record
from tests.integration.enqueue.stage import ids_hash

ACCOUNTS = 5000
ASKS = 20
PARTITIONS = 2
PARTNER = """
hosts = ["api.example.com"]
limits = [{ per = "account", calls = 5, seconds = 1, meter = "sliding" }]
[reports.campaigns]
get = "https://api.example.com/{{ account.id }}?from={{ from }}&to={{ to }}"
rows = "data[]"
columns = { clicks = "int64" }
"""
SCHEDULE = """
calendar = "*-*-* 04:00 UTC"
accounts = "accounts.csv"
# A driver that held the requests would fail: they are 50 MB
spark = { master = "local[2]", "spark.driver.maxResultSize" = "200k" }
""" + "".join(f'[[ask]]\nreport = "acme.campaigns"\ndays = "{n}"\n' for n in range(1, ASKS + 1))


def configuration(folder: Path, servers: str, prefix: str) -> Path:
    for name in ("partners", "schedules"):
        (folder / name).mkdir()
    (folder / "partners/acme.toml").write_text(PARTNER)
    (folder / "schedules/daily.toml").write_text(SCHEDULE)
    rows = "".join(f"acme,{n}\n" for n in range(ACCOUNTS))
    (folder / "schedules/accounts.csv").write_text(f"partner,account\n{rows}")
    (folder / "reportd.toml").write_text(
        f'kafka = {{ servers = "{servers}", prefix = "{prefix}" }}\noutput = {{ root = "out" }}\n'
    )
    return folder / "reportd.toml"


Command = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def command() -> Iterator[Command]:
    """Start the command; whatever of it and its JVM is left when the test ends is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(config: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "reportd.cli.enqueue", "daily", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=config.parent,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("jvm_too", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_killed_enqueuer_goes_on(
    tmp_path: Path, kafka: EmbeddedKafka, topic_prefix: str, command: Command, *, jvm_too: bool
) -> None:
    """SIGKILL while requests are written: the next start completes the set, none is lost.

    It does not wait for the dead one's lease, and leaves nothing in the working folder. A JVM that
    outlives its enqueuer goes on for a moment: it may even write the rest.
    """
    config = configuration(tmp_path, kafka.servers, topic_prefix)
    settings = client_settings(KafkaSettings(servers=kafka.servers))
    admin, topics = Admin(settings), Topics(topic_prefix)
    admin.create(topic_plans(topic_prefix, {"acme": PARTITIONS}, replication=1))
    parts = [(topics.requests("acme"), number) for number in range(PARTITIONS)]
    looking = threading.Event()

    first = command(config)
    while not (written := sum(admin.end_offsets(parts).values())):
        assert first.poll() is None, first.communicate()
        looking.wait(0.01)
    os.kill(-first.pid if jvm_too else first.pid, signal.SIGKILL)
    first.communicate()
    second = command(config)
    said, log = second.communicate(timeout=200)
    reader = PartitionReader(settings, group=topic_prefix)
    runs = [parse_run_record(m.value) for m in reader.read_all(topics.runs)]
    ids = [Request.from_json(m.value).id for m in reader.read_all(topics.requests("acme"))]
    reader.close()

    assert 0 < written < ACCOUNTS * ASKS
    assert second.returncode == 0, log
    assert f"{ACCOUNTS * ASKS} requests" in said
    assert ("written now" in said) or not jvm_too
    assert ACCOUNTS * ASKS == len(set(ids))
    # What an orphaned JVM wrote in its last moments may stand twice: equal ids end without a call
    assert len(ids) <= ACCOUNTS * ASKS * (1 if jvm_too else 1.5)
    *claims, manifest = runs
    assert all(isinstance(claim, Claim) for claim in claims)
    assert isinstance(manifest, Manifest)
    assert (ACCOUNTS * ASKS, ids_hash(ids)) == (manifest.requests, manifest.ids_hash)
    assert {"partners", "schedules", "reportd.toml"} == {path.name for path in tmp_path.iterdir()}
    assert "password" not in log


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_cluster_does_the_work(
    tmp_path: Path, kafka: EmbeddedKafka, topic_prefix: str, command: Command
) -> None:
    """Executors are processes of their own, which have what they need from the driver alone."""
    config = configuration(tmp_path, kafka.servers, topic_prefix)
    settings = client_settings(KafkaSettings(servers=kafka.servers))
    Admin(settings).create(topic_plans(topic_prefix, {"acme": PARTITIONS}, replication=1))
    schedule = tmp_path / "schedules/daily.toml"
    schedule.write_text(SCHEDULE.replace("local[2]", "local-cluster[2,1,1024]"))

    process = command(config)
    said, log = process.communicate(timeout=280)

    assert process.returncode == 0, log
    assert f"{ACCOUNTS * ASKS} requests, {ACCOUNTS * ASKS} written now" in said


def test_wrong_schedule_is_configuration(tmp_path: Path, command: Command) -> None:
    """An unknown report and a missing table: 78, every problem said, no broker asked."""
    config = configuration(tmp_path, "127.0.0.1:1", "t")
    schedule = tmp_path / "schedules/daily.toml"
    schedule.write_text(SCHEDULE.replace("acme.campaigns", "acme.campaign", 1))

    process = command(config)
    _, log = process.communicate(timeout=100)

    assert process.returncode == EXIT_CONFIG
    assert f"{schedule}: ask[1].report: acme has no report 'campaign'" in log


def test_broker_away_is_unavailable(tmp_path: Path, command: Command) -> None:
    """75, so that systemd tries again, and before Spark is started."""
    config = configuration(tmp_path, "127.0.0.1:1", "t")

    process = command(config)
    _, log = process.communicate(timeout=100)

    assert process.returncode == EXIT_UNAVAILABLE
    assert "spark_started" not in log
