"""Whether anything listens where Kafka is said to be. Used by the commands that a person waits for.

Kafka's client tries for half a minute and more, and says it in its own words: a person who waits
for an answer is told at once where nobody can answer.
"""

import socket
from collections.abc import Callable

from reportd.broker.settings import ClientSettings, client_settings
from reportd.config.settings import KafkaSettings
from reportd.errors import BrokerError

CONNECT_SECONDS = 3.0

Connect = Callable[[str, int], None]
"""Connects and lets go again; raises ``OSError``."""


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), CONNECT_SECONDS).close()


def reach(kafka: KafkaSettings, connect: Connect = _connect) -> ClientSettings:
    """Return how to reach Kafka; raises `BrokerError` where none of its servers takes a connection.

    One that does is enough, and so is one that says nothing: the client is more patient.
    """
    refusals = []
    for server in (part.strip() for part in kafka.servers.split(",")):
        host, _, port = server.rpartition(":")
        try:
            connect(host.strip("[]"), int(port))
        except TimeoutError:
            break
        except OSError as error:
            refusals.append(f"{server}: {error.strerror or error}")
        else:
            break
    else:
        said = "; ".join(refusals)
        raise BrokerError(
            f"no Kafka can be reached ({said}): does it run, and is kafka.servers right?"
        )
    return client_settings(kafka)
