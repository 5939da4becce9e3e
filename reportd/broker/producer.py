"""Writing records. Any process; made after the fork, used by one thread."""

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import Producer as KafkaProducer

from reportd.broker.errors import translate, translate_exception
from reportd.broker.keys import PARTITIONER
from reportd.broker.library_log import LibraryLog, error_callback
from reportd.broker.message import Headers
from reportd.broker.settings import ClientSettings
from reportd.errors import BrokerError

logger = logging.getLogger(__name__)

OnDone: TypeAlias = Callable[[int | BrokerError], None]
"""Gets the record's offset once every in-sync replica has it, or what prevented it."""


class Producer:
    """Idempotent, in order per partition, waits for the broker for ever.

    Nothing is given up by time: a record either gets its offset, or an error that trying again
    would not mend (too large, topic gone, not allowed).
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        linger_seconds: float = 0.005,
        queue_messages: int = 100_000,
        queue_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """Make the client; it connects by itself."""
        self._failure: BaseException | None = None
        self._fatal: BrokerError | None = None
        self._producer = KafkaProducer(
            {
                "compression.type": "lz4",
                "linger.ms": linger_seconds * 1000,
                "queue.buffering.max.messages": queue_messages,
                "queue.buffering.max.kbytes": max(1, queue_bytes // 1024),
                **settings,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": 0,
                "partitioner": PARTITIONER,
                "error_cb": error_callback(self._note_fatal),
            },
            logger=LibraryLog(),
        )

    def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Headers = (),
        timestamp: float | None = None,
        on_done: OnDone | None = None,
    ) -> None:
        """Queue a record; ``on_done`` runs in a later `poll` or `flush`.

        Without ``partition`` the key decides. ``timestamp`` is in epoch seconds. While the queue
        is full it waits, serving callbacks. Raises `BrokerError` for a record that the client
        refuses outright (too large), `BrokerFatalError` when the client is finished.
        """
        given: dict[str, Any] = {}
        if partition is not None:
            given["partition"] = partition
        if timestamp is not None:
            given["timestamp"] = round(timestamp * 1000)
        if headers:
            given["headers"] = list(headers)
        while True:
            self._raise_failures()
            try:
                self._producer.produce(
                    topic, value, key=key, on_delivery=self._delivery(on_done), **given
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise translate_exception(error, f"send to {topic}") from error
            else:
                return

    def write(self, topic: str, value: bytes, *, key: bytes, timeout_seconds: float) -> None:
        """Send one record and wait until it is confirmed; raises `BrokerError`."""
        outcome: list[int | BrokerError] = []
        self.send(topic, value, key=key, on_done=outcome.append)
        self.flush(timeout_seconds)
        if not outcome:
            raise BrokerError(f"{topic}: no answer in {timeout_seconds:.0f} s")
        if isinstance(outcome[0], BrokerError):
            raise outcome[0]

    def poll(self, timeout_seconds: float = 0.0) -> None:
        """Run the callbacks that are due; raises what they raised, and `BrokerFatalError`."""
        self._producer.poll(timeout_seconds)
        self._raise_failures()

    def flush(self, timeout_seconds: float) -> int:
        """Wait until all is confirmed; return how many records are not."""
        left = self._producer.flush(timeout_seconds)
        self._raise_failures()
        return left

    def __len__(self) -> int:
        """Return how many records wait for their confirmation."""
        return len(self._producer)

    def _delivery(
        self, on_done: OnDone | None
    ) -> Callable[[KafkaError | None, KafkaMessage], None]:
        def delivered(error: KafkaError | None, message: KafkaMessage) -> None:
            if on_done is None:
                if error is not None:
                    self._failure = self._failure or translate(error, "send")
                return
            try:
                if error is None:
                    on_done(message.offset() or 0)
                else:
                    on_done(translate(error, f"send to {message.topic()}"))
            except BaseException as raised:  # noqa: BLE001 - raised again by poll, Halt included
                self._failure = self._failure or raised

        return delivered

    def _note_fatal(self, error: KafkaError) -> None:
        self._fatal = self._fatal or translate(error, "producer")

    def _raise_failures(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._fatal is not None:
            raise self._fatal
