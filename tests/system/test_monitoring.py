"""A real Prometheus scrapes real daemons: what it knows of them is what the test knows."""

from tests.prometheus import labels
from tests.system.conftest import Watch
from tests.system.stage import Feeder, Stage, until


def test_prometheus_sees_a_run(stage: Stage, watch: Watch) -> None:
    """The files and rows that it counts are those that were published."""
    vm = stage.start(stage.vm("vm-a"))
    prometheus = watch(vm.metrics_port)
    Feeder(stage, 12).feed()
    until(stage.all_ended, "every request to end")
    asked = len(stage.requests)

    query = 'sum by (state) (reportd_requests_ended_total{partner="acme"}) > 0'
    until(lambda: prometheus.ask(query) == {labels(state="result"): asked}, "Prometheus to know")
    assert asked > 0
    assert prometheus.firing() == set()
