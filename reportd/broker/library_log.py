"""librdkafka's log lines and error events, on their way to Python's logging. Every process."""

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError

logger = logging.getLogger(__name__)

_OF_ANOTHER_CLIENT = "CONFWARN"
"""One set of settings serves producers and consumers: the library warns of each that is not for
the client at hand."""


class LibraryLog:
    """What the library takes for a logger; served from ``poll``, in the thread that polls."""

    def log(self, level: int, text: str, *args: object) -> None:
        """Pass one line on."""
        if args and args[0] == _OF_ANOTHER_CLIENT:
            return
        logger.log(level, text, *args, extra={"action": "broker_library"})


def error_callback(on_fatal: Callable[[KafkaError], None]) -> Callable[[KafkaError], None]:
    """Return the callback for errors of the whole client: fatal ones to ``on_fatal``.

    The rest is the library's to mend (a broker away, a connection lost): said once each.
    """

    def on_error(error: KafkaError) -> None:
        if error.fatal():
            on_fatal(error)
            return
        extra = {"action": "broker_error", "error": error.name()}
        logger.warning("broker: %s", error.str(), extra=extra)

    return on_error
