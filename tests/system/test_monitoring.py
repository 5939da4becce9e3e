"""A real Prometheus scrapes real daemons: what it knows of them is what the test knows."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.prometheus import Prometheus, labels
from tests.system.stage import Feeder, Stage, until

Watch = Callable[..., Prometheus]


@pytest.fixture
def watch(promtool: str, tmp_path: Path) -> Iterator[Watch]:
    """Give a maker of a Prometheus that scrapes some daemons."""
    assert promtool
    with ExitStack() as stack:

        def made(*ports: int, **how: Any) -> Prometheus:
            targets = [f"127.0.0.1:{port}" for port in ports]
            return stack.enter_context(Prometheus(tmp_path / "prometheus", targets, **how))

        yield made


def test_prometheus_sees_a_run(stage: Stage, watch: Watch) -> None:
    """The files and rows that it counts are those that were published."""
    vm = stage.start(stage.vm("vm-a"))
    prometheus = watch(vm.metrics_port)
    Feeder(stage, 12).feed()
    until(stage.all_ended, "every request to end")
    asked = len(stage.requests)

    query = 'sum by (state) (reportd_requests_ended_total{partner="acme"})'
    until(lambda: prometheus.ask(query) == {labels(state="result"): asked}, "Prometheus to know")
    assert asked > 0
    assert prometheus.firing() == set()
