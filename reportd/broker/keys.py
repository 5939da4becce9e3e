"""Which partition a key lies in: Java's and Spark's default, murmur2. Pure; any process."""

from confluent_kafka import murmur2

PARTITIONER = "murmur2_random"
"""librdkafka's name for it; its own default is CRC32 and agrees for one key in eight."""


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of ``key``: the positive part of murmur2, modulo the count."""
    if partitions < 1:
        raise ValueError("a topic has at least one partition")
    return murmur2(key, partitions)
