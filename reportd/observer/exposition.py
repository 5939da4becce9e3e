"""What /metrics shows: what the workers count, and the document as gauges. Pure.

A scrape reads no file and asks nobody: with many workers their files take longer to read than a
scrape may, so the observer reads them now and then, for itself and for all scrapes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from reportd import metrics
from reportd.metrics import Declared

Series = dict[tuple[str, ...], float]
Samples = dict[Declared, Series]
FOLDS: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max, "min": min}


class Counted:
    """A Prometheus collector over what was last read of the workers' files."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._families: tuple[Metric, ...] = ()

    def show(self, families: Iterable[Metric]) -> None:
        """Show what was read from now on."""
        self._families = tuple(families)

    def collect(self) -> Iterator[Metric]:
        """Return the families; called at each scrape, in an HTTP thread."""
        yield from self._families


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
        _put(found, metrics.ALLOWED_RATE, (partner,), one["allowed_calls_per_second"])
    for part in document["partitions"]:
        labels = (part["topic"], str(part["partition"]))
        _put(found, metrics.OFFSET_LAG, labels, part["lag"])
    found[metrics.UNOWNED][()] = len(document["unowned"]) + len(document["forsaken"])
    for limit in document["limits"]:
        found[metrics.LIMIT_SHARE][limit["partner"], limit["per"]] = limit["share"]
    for quota in document["quotas"]:
        found[metrics.QUOTA_REMAINING][quota["partner"],] = quota["calls"]
        found[metrics.QUOTA_RESET][quota["partner"],] = quota["resets_at"]
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
        _put(found, metrics.LEFT_OUT, slot, child["left_out"])
        if child["output_away"] is not None:
            found[metrics.OUTPUT_AWAY][slot] = bool(child["output_away"])
    _put_runs(found, document)
    for sunset in document["sunsets"]:
        found[metrics.SUNSET][sunset["partner"],] = sunset["at"]
    found[metrics.RELOAD_OK][()] = document["reload"]["ok"]
    found[metrics.CONFIG_AGREES][()] = document["config"]["agrees"]
    found[metrics.VMS_LIVE][()] = len(document["vms"])
    _put(found, metrics.BROKER_AGE, (), document["broker"]["answer_age_seconds"])
    return {declared: bounded(declared, values) for declared, values in found.items()}


def bounded(declared: Declared, values: Series) -> Series:
    """Return a gauge's series, without the last label while there are too many."""
    fold = FOLDS[declared.folded]
    for kept in range(len(declared.labels) - 1, -1, -1):
        if len(values) <= metrics.MAX_SERIES:
            break
        fewer: dict[tuple[str, ...], float] = {}
        for labels, value in values.items():
            key = labels[:kept] + (metrics.OTHER,) * (len(labels) - kept)
            fewer[key] = fold((fewer[key], value)) if key in fewer else value
        values = fewer
    return values


def _put_runs(found: Samples, document: Mapping[str, Any]) -> None:
    for run in document["runs"]:
        schedule = (run["schedule"],)
        found[metrics.RUN_OPEN][schedule] = run["open_at_most"]
        found[metrics.LAST_RUN][schedule] = run["enqueued_at"]
        _put(found, metrics.RUN_DEADLINE, schedule, run["deadline"])
        for partner, one in run["partners"].items():
            of_partner = (run["schedule"], partner)
            found[metrics.RUN_REQUESTS][of_partner] = one["requests"]
            found[metrics.RUN_DONE][of_partner] = one["requests"] - one["open_at_most"]
    for run in document["finished"]:
        found[metrics.RUN_COMPLETE][run["schedule"],] = run["at"]
        found[metrics.RUN_PARTIAL][run["schedule"],] = run["state"] == "partial"
        _add_missing(found[metrics.MISSING_ACCOUNT_DAYS], run["missing"])
    for run in document["lacks"]:
        _add_missing(found[metrics.OLDER_MISSING], run["missing"])
    for run in document["stuck"]:
        series = found[metrics.STUCK_RUNS]
        series[run["schedule"],] = series.get((run["schedule"],), 0.0) + 1.0
    for schedule_name, slot_at in document["slots"].items():
        found[metrics.SCHEDULE_SLOT][schedule_name,] = slot_at


def _add_missing(series: Series, missing: Mapping[str, int]) -> None:
    for name, count in missing.items():
        partner, _, report = name.partition(".")
        series[partner, report] = series.get((partner, report), 0.0) + count


def _put(found: Samples, declared: Declared, labels: tuple[str, ...], value: Any) -> None:
    if value is not None:
        found[declared][labels] = float(value)
