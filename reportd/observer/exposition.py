"""The document as gauges: /metrics beside what the workers count. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from reportd import metrics
from reportd.metrics import Declared

Samples = dict[Declared, dict[tuple[str, ...], float]]


class Gauges:
    """A Prometheus collector over the newest document; the observer replaces it."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._samples: Samples = {}

    def show(self, document: Mapping[str, Any]) -> None:
        """Show a document from now on."""
        self._samples = samples(document)

    def collect(self) -> Iterator[Metric]:
        """Return the families; called at each scrape, in an HTTP thread."""
        for declared, values in self._samples.items():
            make = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
            family = make(declared.name, declared.help, labels=declared.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family


def samples(document: Mapping[str, Any]) -> Samples:
    """Return every gauge of a document."""
    found: Samples = {declared: {} for declared in metrics.OBSERVED}
    for partner, one in document["partners"].items():
        for state, count in one["states"].items():
            found[metrics.OPEN_REQUESTS][partner, state] = count
        _put(found, metrics.OLDEST_OPEN, (partner,), one["oldest_open"])
        _put(found, metrics.ETA, (partner,), one["eta_seconds"])
        _put(found, metrics.ENDED_RATE, (partner,), one["ended_per_second"])
    for part in document["partitions"]:
        labels = (part["topic"], str(part["partition"]))
        _put(found, metrics.OFFSET_LAG, labels, part["lag"])
    for limit in document["limits"]:
        found[metrics.LIMIT_SHARE][limit["partner"], limit["per"]] = limit["share"]
    for circuit in document["circuits"]:
        found[metrics.CIRCUIT_OPEN][circuit["partner"], circuit["kind"]] = 1
    for child in document["children"]:
        slot = (child["name"],)
        found[metrics.CHILD_UP][slot] = child["up"]
        found[metrics.WORKER_RESTARTS][slot] = child["restarts"]
        _put(found, metrics.PRIVATE_BYTES, slot, child["private_bytes"])
        _put(found, metrics.PARTITIONS_OWNED, slot, child["partitions"])
        _put(found, metrics.FENCE_OPEN, slot, child["fence_open"])
        _put(found, metrics.COMMIT_AGE, slot, child["commit_age_seconds"])
        if child["output_away"] is not None:
            found[metrics.OUTPUT_AWAY][slot] = bool(child["output_away"])
    for run in document["runs"]:
        found[metrics.RUN_OPEN][run["schedule"],] = run["open_at_most"]
        found[metrics.LAST_RUN][run["schedule"],] = run["slot"]
        _put(found, metrics.RUN_DEADLINE, (run["schedule"],), run["deadline"])
    for run in document["finished"]:
        found[metrics.RUN_COMPLETE][run["schedule"],] = run["at"]
        found[metrics.RUN_PARTIAL][run["schedule"],] = run["state"] == "partial"
        for name, missing in run["missing"].items():
            partner, _, report = name.partition(".")
            series = found[metrics.MISSING_ACCOUNT_DAYS]
            series[partner, report] = series.get((partner, report), 0.0) + missing
    for sunset in document["sunsets"]:
        found[metrics.SUNSET_DAYS][sunset["partner"],] = sunset["days"]
    found[metrics.RELOAD_OK][()] = document["reload"]["ok"]
    found[metrics.CONFIG_AGREES][()] = document["config"]["agrees"]
    found[metrics.VMS_LIVE][()] = len(document["vms"])
    _put(found, metrics.BROKER_AGE, (), document["broker"]["answer_age_seconds"])
    return found


def _put(found: Samples, declared: Declared, labels: tuple[str, ...], value: Any) -> None:
    if value is not None:
        found[declared][labels] = float(value)
