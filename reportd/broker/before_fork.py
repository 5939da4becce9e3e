"""What the library sets up once a process: done before the forks, the children share its memory."""

from contextlib import suppress

from confluent_kafka import KafkaException, Producer


def set_up_library() -> None:
    """Let librdkafka load what every client needs (TLS above all); leaves no client, no thread.

    It does that with the first client, and before it looks at that client's authorities: one that
    it must refuse is enough.
    """
    refused = {"security.protocol": "ssl", "ssl.ca.location": "/nonexistent", "log_level": 0}
    with suppress(KafkaException):
        Producer(refused)
