"""What the system tests share: a stage on the common broker, with one quick partner."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.scene import Scene
from reportd.demo.simulator.process import Simulator
from tests.prometheus import Prometheus
from tests.system.stage import Stage, make_stage, quick_scene, unlimited

MakeStage = Callable[..., Stage]
Watch = Callable[..., Prometheus]


@pytest.fixture
def make_a_stage(
    kafka: EmbeddedKafka,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MakeStage]:
    """Give a maker of stages; what they started is ended at the end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # It remembers the first folder it has found, which goes away with the test that it was of
    monkeypatch.setattr(tempfile, "tempdir", None)
    with ExitStack() as stack:

        def make(scene: Scene, edit: Callable[[str, str], str] | None = None) -> Stage:
            simulator = stack.enter_context(Simulator(scene.simulated(tmp_path / "calls.jsonl")))
            (tmp_path / "play").mkdir()
            made = make_stage(tmp_path / "play", scene, kafka, simulator, topic_prefix, edit)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def stage(make_a_stage: MakeStage) -> Stage:
    """Give a stage with one quick partner and four accounts."""
    return make_a_stage(quick_scene(), unlimited)


@pytest.fixture
def watch(promtool: str, tmp_path: Path) -> Iterator[Watch]:
    """Give a maker of a Prometheus that scrapes some daemons."""
    assert promtool
    with ExitStack() as stack:

        def made(*ports: int, **how: Any) -> Prometheus:
            targets = [f"127.0.0.1:{port}" for port in ports]
            return stack.enter_context(Prometheus(tmp_path / "prometheus", targets, **how))

        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test that is the first to need the broker the time to start it."""
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180))
