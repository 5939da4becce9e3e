import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reportd.demo import jars
from reportd.errors import UnavailableError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "reportd"


class Registry:
    """Counts what is fetched from it; may break off in the middle."""

    def __init__(self, *, broken: bool = False) -> None:
        self.fetched = 0
        self.broken = broken

    def fetch(self, folder: Path) -> None:
        self.fetched += 1
        (folder / "half.jar").touch()
        if self.broken:
            raise UnavailableError("connection reset")


def test_what_is_cached_is_not_fetched_again() -> None:
    """A registry is asked once for a version."""
    registry = Registry()

    first = jars.fetched("kafka-1", registry.fetch)
    second = jars.fetched("kafka-1", registry.fetch)

    assert first == second
    assert 1 == registry.fetched


def test_a_fetch_that_breaks_off_leaves_nothing(cache: Path) -> None:
    """Half of the jars are never taken for all of them."""
    with pytest.raises(UnavailableError):
        jars.fetched("kafka-1", Registry(broken=True).fetch)

    assert ["kafka-1.lock"] == [path.name for path in cache.iterdir()]


def test_two_that_start_at_once_fetch_once() -> None:
    """The second waits for the first and takes what it brought."""
    registry = Registry()
    both = threading.Barrier(2)

    def start(_number: int) -> Path:
        both.wait(10)
        return jars.fetched("kafka-1", registry.fetch)

    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(start, range(2)))

    assert 1 == len(folders)
    assert 1 == registry.fetched


def test_no_java_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package."""
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(UnavailableError, match="openjdk-17-jre-headless"):
        jars.java()
