"""Keys lie where Java and Spark put them."""

import pytest

from reportd.broker.keys import partition_of

# Kafka's own vectors (UtilsTest.testMurmur2): 32-bit signed hashes
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed_hash"), VECTORS.items())
@pytest.mark.parametrize("partitions", [1, 2, 7, 16, 1000, 2**31 - 1])
def test_partition_is_kafkas(key: bytes, signed_hash: int, partitions: int) -> None:
    """The sign bit is taken off, not the sign turned: that is Kafka's toPositive."""
    assert partition_of(key, partitions) == (signed_hash & 0x7FFFFFFF) % partitions


def test_a_topic_without_partitions_is_a_mistake() -> None:
    """Rather an error than a division by zero in C."""
    with pytest.raises(ValueError, match="at least one"):
        partition_of(b"key", 0)
