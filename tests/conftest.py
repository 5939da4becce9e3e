"""What every test may use."""

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import settings

from reportd.demo.kafka import EmbeddedKafka

# examples are slow when the machine is busy, and that is no fault of what is tested
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Give a real broker, one a test process; who stops or kills one starts one of its own."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def topic_prefix() -> str:
    """Give a prefix for topics and groups that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"
