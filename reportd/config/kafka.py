"""Which settings of librdkafka are the user's, and which the promises depend on.

Pure data and checks; `reportd.broker` sets what is refused here, and uses this list for it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

REFUSED: Mapping[str, str] = {
    "acks": "records count only when all replicas have them",
    "allow.auto.create.topics": "a topic made by accident has the wrong partitions and retention; "
    "use 'reportctl topics create'",
    "auto.commit.interval.ms": "offsets are committed by hand",
    "auto.offset.reset": "it is 'error': a lost offset must be an alert, not a jump",
    "bootstrap.servers": "write it as kafka.servers",
    "delivery.report.only.error": "every delivery has to be confirmed",
    "delivery.timeout.ms": "a ledger record that is given up on would be lost",
    "enable.auto.commit": "offsets are committed by hand, after the files are there",
    "enable.auto.offset.store": "offsets are committed by hand, after the files are there",
    "enable.idempotence": "without it a resend could double or reorder records",
    "enable.partition.eof": "reading a partition to its end depends on it",
    "group.id": "it follows from kafka.prefix",
    "group.instance.id": "it follows from workers.machine_id and the worker's number",
    "group.protocol": "it is 'classic': the newer one refuses a killed worker's id for too long",
    "group.remote.assignor": "the protocol is 'classic'",
    "heartbeat.interval.ms": "it follows from workers.session_timeout_seconds",
    "isolation.level": "it is 'read_committed': aborted messages are no requests",
    "log.connection.close": "it is set by the daemon",
    "max.in.flight": "more than five could reorder records",
    "max.in.flight.requests.per.connection": "more than five could reorder records",
    "message.copy.max.bytes": "it goes with message.max.bytes",
    "message.max.bytes": "dead letters hold what others wrote: each topic has its own bound",
    "message.send.max.retries": "a ledger record that is given up on would be lost",
    "message.timeout.ms": "a ledger record that is given up on would be lost",
    "metadata.broker.list": "write it as kafka.servers",
    "partition.assignment.strategy": "it is 'cooperative-sticky': partitions move one by one",
    "partitioner": "it is 'murmur2_random', as Spark's and Java's is: keys carry the limits",
    "queuing.strategy": "records stay in order",
    "receive.message.max.bytes": "a message that is not read would stop its partition",
    "request.required.acks": "records count only when all replicas have them",
    "retries": "a ledger record that is given up on would be lost",
    "session.timeout.ms": "write it as workers.session_timeout_seconds",
    "topic.blacklist": "topics follow from kafka.prefix",
    "transactional.id": "a transaction would cost 110 ms a commit",
}
"""Refused settings of librdkafka, and why."""

SECRET = frozenset(
    {
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    }
)
"""Settings whose value must be ``{ secret = "name" }``."""

WITHOUT_DOT = frozenset({"debug", "log_level"})
"""The settings of librdkafka that have no dot in their name; any other such name is a typo."""


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of nested tables.

    TOML reads ``security.protocol = "SSL"`` without quotes as a table in a table: both ways of
    writing mean the same here. ``{ secret = "name" }`` is a value.
    """
    for key, value in table.items():
        if isinstance(value, Mapping) and set(value) != {"secret"}:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
