"""librdkafka's log lines and error events, on their way to Python's logging. Every process."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

logger = logging.getLogger(__name__)

_OF_ANOTHER_CLIENT = "CONFWARN"
"""One set of settings serves producers and consumers: the library warns of each that is not for
the client at hand."""


class LibraryLog:
    """What the library takes for a logger; served from ``poll``, in the thread that polls.

    While a broker is away every client says so every second: the same kind of line is said once in
    ``quiet_seconds``, the rest at DEBUG.
    """

    def __init__(
        self,
        quiet_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        loud: bool = True,
    ) -> None:
        """Start with nothing said; not ``loud``: whoever asks is told why by the error it gets."""
        self._loud = loud
        self._quiet_seconds = quiet_seconds
        self._monotonic = monotonic
        self._said: dict[object, float] = {}

    def log(self, level: int, text: str, *args: object) -> None:
        """Pass one line on; its first argument is its kind (``FAIL``, ``REQTMOUT`` ...)."""
        kind = args[0] if args else text
        if kind == _OF_ANOTHER_CLIENT:
            return
        now = self._monotonic()
        if not self._loud or now - self._said.get(kind, -self._quiet_seconds) < self._quiet_seconds:
            level = logging.DEBUG
        else:
            self._said[kind] = now
        logger.log(level, text, *args, extra={"action": "broker_library"})


def error_callback(
    on_fatal: Callable[[KafkaError], None],
    on_other: Callable[[KafkaError], None] | None = None,
) -> Callable[[KafkaError], None]:
    """Return the callback for errors of the whole client: fatal ones to ``on_fatal``.

    The rest is the library's to mend (a broker away, a connection lost), and in its log too.
    """

    def on_error(error: KafkaError) -> None:
        if error.fatal():
            on_fatal(error)
            return
        if on_other is not None:
            on_other(error)
        extra = {"action": "broker_error", "error": error.name()}
        logger.debug("broker: %s", error.str(), extra=extra)

    return on_error
