"""What every client of the library is told. Pure; any process.

Nothing here can be overridden by the user's own settings when a promise depends on it: those are
refused by `reportd.config.kafka`, and set after the user's in each client.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaException, Producer

from reportd.broker.errors import translate_exception
from reportd.broker.library_log import LibraryLog
from reportd.config.secrets import Secret
from reportd.config.settings import KafkaSettings

ClientSettings: TypeAlias = Mapping[str, Any]
"""librdkafka's own names and values, secrets included: never logged, never shown."""

MESSAGE_MAX_BYTES = 8 * 1024 * 1024
"""The client's bound, before compression; each topic has its own, which the broker holds."""

_BASE: ClientSettings = {
    "client.id": "reportd",
    "socket.keepalive.enable": True,
    "socket.timeout.ms": 15_000,
    "reconnect.backoff.max.ms": 2_000,
    "topic.metadata.refresh.interval.ms": 60_000,
    "message.max.bytes": MESSAGE_MAX_BYTES,
    "log.connection.close": False,
    "statistics.interval.ms": 0,
    # By default every client keeps 0.5 MB of histograms for brokers that ask for them (KIP-714)
    "enable.metrics.push": False,
}


class HiddenSettings(dict[str, Any]):
    """Settings whose repr shows names alone: they end in tracebacks and logs."""

    def __repr__(self) -> str:
        """Show which settings there are, no value."""
        return f"HiddenSettings({', '.join(sorted(self))})"


def client_settings(kafka: KafkaSettings) -> ClientSettings:
    """Return what producers, consumers and admins share: the base, then the user's own."""
    return HiddenSettings(
        {
            **_BASE,
            **{name: _plain(value) for name, value in kafka.librdkafka.items()},
            "bootstrap.servers": kafka.servers,
        }
    )


def library_problems(settings: ClientSettings) -> list[str]:
    """Ask the library whether it takes the settings: unknown names, bad values, files missing.

    Makes clients (threads, but no waiting for a broker): never call it in a process that forks.
    """
    problems = []
    for make in (_producer, _consumer):
        try:
            make(settings)
        except KafkaException as error:
            text = str(translate_exception(error, "kafka"))
            if text not in problems:
                problems.append(text)
    return problems


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _producer(settings: ClientSettings) -> None:
    Producer(dict(settings), logger=LibraryLog())


def _consumer(settings: ClientSettings) -> None:
    Consumer({**settings, "group.id": "reportd-check"}, logger=LibraryLog()).close()
