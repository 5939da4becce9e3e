"""What clients are told, and what of it is ever shown."""

import logging

import pytest

from reportd.broker.library_log import LibraryLog
from reportd.broker.message import Message
from reportd.broker.settings import client_settings, library_problems
from reportd.config.secrets import Secret
from reportd.config.settings import KafkaSettings


def test_the_users_settings_are_passed_on() -> None:
    """Secrets too, as the library needs them; the address is the user's own."""
    kafka = KafkaSettings(
        servers="k1:9093",
        librdkafka={"security.protocol": "SASL_SSL", "sasl.password": Secret("hush", "kafka")},
    )

    settings = client_settings(kafka)

    assert settings["bootstrap.servers"] == "k1:9093"
    assert settings["security.protocol"] == "SASL_SSL"
    assert settings["sasl.password"] == "hush"


def test_no_secret_is_shown() -> None:
    """Settings end in tracebacks: their repr has names alone."""
    kafka = KafkaSettings(servers="k1:9093", librdkafka={"sasl.password": Secret("hush")})

    shown = repr(client_settings(kafka))

    assert "sasl.password" in shown
    assert "hush" not in shown


def test_the_library_names_what_it_does_not_know() -> None:
    """A typo is found before anything starts, and said once."""
    settings = {"bootstrap.servers": "127.0.0.1:9", "log_level": "0", "sasl.pasword": "hush"}

    (problem,) = library_problems(settings)

    assert "sasl.pasword" in problem
    assert "hush" not in problem


def test_repeated_lines_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """While a broker is away every client complains every second."""
    now = [0.0]
    log = LibraryLog(quiet_seconds=30, monotonic=lambda: now[0])
    caplog.set_level(logging.DEBUG)

    for at in (0, 1, 29, 30):
        now[0] = at
        log.log(logging.WARNING, "%s [%s] %s", "FAIL", "worker-0", f"refused {at}")
    log.log(logging.WARNING, "%s [%s] %s", "CONFWARN", "worker-0", "not for this client")

    said = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert said == ["FAIL [worker-0] refused 0", "FAIL [worker-0] refused 30"]
    assert len(caplog.records) == 4


def test_the_last_header_of_a_name_counts() -> None:
    """As Kafka's own clients have it."""
    message = Message("t", 0, 0, None, b"", (("a", b"1"), ("b", b"2"), ("a", b"3")))

    assert message.header("a") == b"3"
    assert message.header("c") is None
    assert "value" not in repr(message)
