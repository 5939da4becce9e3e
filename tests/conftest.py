"""What every test may use."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from reportd.demo.kafka import EmbeddedKafka
from reportd.errors import UnavailableError
from tests.prometheus import program
from tests.s3server import S3Server, is_cached, server_program

# Examples are slow when the machine is busy, and that is no fault of what is tested. They are the
# same ones each time: what is new is looked for in `make soak`, where a find stops no landing
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2_000)
settings.load_profile("house")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Give a real broker, one a test process; who stops or kills one starts one of its own."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def s3_program() -> Path:
    """Give the S3 server's program, built once; skip, with the reason, where that cannot be."""
    try:
        return server_program()
    except UnavailableError as error:
        pytest.skip(str(error))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test with an S3 server the time to build it, if ``make test`` did not."""
    if is_cached():
        return
    for item in items:
        if "s3" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(900), append=False)


@pytest.fixture
def s3(s3_program: Path, tmp_path: Path) -> Iterator[S3Server]:
    """Give a real S3 server with an empty bucket."""
    assert s3_program.exists()
    with S3Server(tmp_path / "s3") as server:
        yield server


@pytest.fixture(scope="session")
def promtool() -> str:
    """Give Prometheus' tool; skip, with the reason, where set-up could not install it."""
    try:
        return program("promtool")
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def topic_prefix() -> str:
    """Give a prefix for topics and groups that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"
