"""The embedded broker is a real one, and leaves nothing behind."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from reportd.demo.kafka import EmbeddedKafka
from reportd.errors import UnavailableError

_PARENT = """
import sys
from pathlib import Path
from reportd.demo.kafka import EmbeddedKafka

broker = EmbeddedKafka(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
sys.stdin.read()
"""


def _create(kafka: EmbeddedKafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.servers})
    for future in admin.create_topics([NewTopic(topic, 2, 1)]).values():
        future.result(30)


def _produce(kafka: EmbeddedKafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.servers, "enable.idempotence": True})
    producer.produce(topic, value, key=b"key")
    assert producer.flush(30) == 0


def _consume(kafka: EmbeddedKafka, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 1000,
        }
    )
    consumer.subscribe([topic])
    try:
        messages = [consumer.poll(30) for _ in range(count)]
    finally:
        consumer.close()
    return [message.value() or b"" for message in messages if message and not message.error()]


def test_what_is_produced_is_consumed(kafka: EmbeddedKafka, topic_prefix: str) -> None:
    """A topic, a message, a group of its own: all as with any Kafka."""
    topic = f"{topic_prefix}.requests"
    _create(kafka, topic)

    _produce(kafka, topic, b"hello")

    assert [b"hello"] == _consume(kafka, topic, 1)


def test_data_and_address_survive_a_crash(tmp_path: Path) -> None:
    """Killed, stopped and started again, it is the same broker at the same address."""
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        servers = broker.servers
        _create(broker, "kept")
        _produce(broker, "kept", b"before the crash")
        broker.kill()
        broker.start()
        _produce(broker, "kept", b"after the crash")
        broker.restart()

        assert servers == broker.servers
        assert [b"before the crash", b"after the crash"] == _consume(broker, "kept", 2)


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A test run or a demo that is killed leaves no broker behind."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin
    assert parent.stdout
    try:
        broker = os.pidfd_open(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.communicate()

    assert _ended(broker, timeout_seconds=30.0)


def test_one_to_try_things_with_stops_in_order(tmp_path: Path) -> None:
    """The README's broker says where it answers, and is gone when it is told to stop."""
    program = subprocess.Popen(
        [sys.executable, "-m", "reportd.demo.kafka", str(tmp_path), "--port", "19092"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout
        assert "Kafka answers at 127.0.0.1:19092" in program.stdout.readline()
        program.terminate()
        assert 0 == program.wait(30)
    finally:
        program.kill()
        program.communicate()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 19092), 5).close()


def _ended(pidfd: int, timeout_seconds: float) -> bool:
    """Wait for the end of a process that is not our child."""
    with select.epoll() as poll:
        poll.register(pidfd, select.EPOLLIN)
        try:
            return bool(poll.poll(timeout_seconds))
        finally:
            os.close(pidfd)


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The end of the broker's own log is in the error, and no process is left."""
    broker = EmbeddedKafka(tmp_path, settings={"num.network.threads": "none"})

    with pytest.raises(UnavailableError, match=r"num\.network\.threads"):
        broker.start()

    assert broker.pid is None


def test_a_broker_that_is_too_slow_is_named_with_its_log_and_the_load(tmp_path: Path) -> None:
    """Whoever waited in vain learns where to look, even if the broker has said nothing yet."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").touch()  # formatted already, as it seems
    broker = EmbeddedKafka(tmp_path)

    with pytest.raises(UnavailableError, match=rf"in 0 s.* load is .*its log, {tmp_path}/kafka"):
        broker.start(timeout_seconds=0)

    assert broker.pid is None
