"""Metrics: names, labels, and counters that go on with their slot's files."""

import errno
import logging
import os
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reportd import metrics
from reportd.metrics import ALL, COUNTED, MAX_SERIES, Declared, Metrics
from reportd.observer.render import rendered

SUFFIXES = {"counter": "_total", "histogram": "_seconds"}


def exposed(folder: Path, name: str, **labels: str) -> float | None:
    """Return what a scrape shows for one sample."""
    registry = CollectorRegistry()
    registry.register(metrics.read_files(folder))
    return registry.get_sample_value(name, labels)


@pytest.mark.parametrize("declared", ALL, ids=lambda declared: declared.name)
def test_names_and_help(declared: Declared) -> None:
    """Names follow Prometheus' rules, and the help says something."""
    assert re.fullmatch(r"reportd_[a-z_]+", declared.name)
    assert declared.name.endswith(SUFFIXES.get(declared.kind, ""))
    assert len(declared.help) > 20
    assert bool(declared.buckets) == (declared.kind == "histogram")
    assert not {"account", "id", "run"} & set(declared.labels)


def test_names_are_unique() -> None:
    """No metric is declared twice."""
    assert len({declared.name for declared in ALL}) == len(ALL)


def test_every_counted_metric_is_made() -> None:
    """A worker's book holds exactly what is declared as counted."""
    made = {family.name for family in Metrics.in_memory().registry.collect()}

    assert made == {declared.name.removesuffix("_total") for declared in COUNTED}


def test_counts_in_memory() -> None:
    """Counters and histograms count by their labels."""
    book = Metrics.in_memory()
    book.calls.inc("acme", "ok")
    book.rows.inc("acme", by=41)
    book.commits.inc("accepted")
    book.call_seconds.observe(0.2, "acme")

    assert book.value("reportd_calls_total", partner="acme", outcome="ok") == 1
    assert book.value("reportd_rows_total", partner="acme") == 41
    assert book.value("reportd_commits_total", outcome="accepted") == 1
    assert book.value("reportd_call_duration_seconds_sum", partner="acme") == 0.2


def test_without_room_what_is_new_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full /run ends no worker; what was counted before goes on, the rest when there is room."""

    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(metrics._NOWHERE, "_said", False)  # once a process
    book = Metrics.of_process(tmp_path, "worker-0")
    book.rows.inc("acme", by=5)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(os, "posix_fallocate", full)
        book.rows.inc("acme", by=2)
        book.rows.inc("shop", by=3)
        book.call_seconds.observe(0.2, "acme")
        assert exposed(tmp_path, "reportd_rows_total", partner="acme") == 7
        assert exposed(tmp_path, "reportd_rows_total", partner="shop") is None
    book.rows.inc("shop", by=4)
    book.call_seconds.observe(0.3, "acme")

    assert exposed(tmp_path, "reportd_rows_total", partner="shop") == 4
    assert exposed(tmp_path, "reportd_call_duration_seconds_sum", partner="acme") == 0.3
    said = [record.getMessage() for record in caplog.records]
    assert said == ["some is not counted: No space left on device"]


def test_room_is_taken_before_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write to a mapped page that the disk has no room for would be the worker's end: SIGBUS."""
    taken: dict[str, int] = {}
    really = os.posix_fallocate

    def recorded(descriptor: int, offset: int, size: int) -> None:
        really(descriptor, offset, size)
        taken[Path(f"/proc/self/fd/{descriptor}").readlink().name] = offset + size

    monkeypatch.setattr(os, "posix_fallocate", recorded)
    book = Metrics.of_process(tmp_path, "worker-0")
    for number in range(100):
        book.calls.inc(f"a partner of {number} letters and more", "ok")
        book.call_seconds.observe(0.2, f"{number:0100}")
        written = {
            file.name: int.from_bytes(file.read_bytes()[:4], "little")
            for file in tmp_path.iterdir()
        }
        assert written.keys() == taken.keys()
        assert all(written[name] <= taken[name] for name in written)


def test_next_process_of_a_slot_goes_on(tmp_path: Path) -> None:
    """A respawned worker adds to what its slot had counted; others keep theirs."""
    metrics.empty_folder(tmp_path)
    Metrics.of_process(tmp_path, "worker-0").rows.inc("acme", by=5)
    Metrics.of_process(tmp_path, "worker-1").rows.inc("acme", by=100)
    Metrics.of_process(tmp_path, "worker-0").rows.inc("acme", by=2)

    assert exposed(tmp_path, "reportd_rows_total", partner="acme") == 107
    files = {file.name for file in tmp_path.glob("counter*")}
    assert files == {"counter_worker-0.db", "counter_worker-1.db"}


def test_untouched_counters_stay_exposed(tmp_path: Path) -> None:
    """What a dead worker counted and its successor never touches does not go backwards."""
    metrics.empty_folder(tmp_path)
    Metrics.of_process(tmp_path, "worker-0").rows.inc("acme", by=5)
    Metrics.of_process(tmp_path, "worker-0")

    assert exposed(tmp_path, "reportd_rows_total", partner="acme") == 5


def test_folder_is_emptied(tmp_path: Path) -> None:
    """A new daemon starts from zero."""
    metrics.empty_folder(tmp_path / "new")
    Metrics.of_process(tmp_path / "new", "worker-0").rows.inc("acme")

    metrics.empty_folder(tmp_path / "new")

    assert exposed(tmp_path / "new", "reportd_rows_total", partner="acme") is None


def test_labels_are_bounded() -> None:
    """However many values a label takes, the series stay bounded and nothing is uncounted."""
    book = Metrics.in_memory()
    for n in range(MAX_SERIES + 50):
        book.rows.inc(f"p{n}")

    assert book.value("reportd_rows_total", partner=metrics.OTHER) == 50


def test_every_counted_metric_is_counted() -> None:
    """No metric is declared that nobody counts: an absent number looks like a good one."""
    package = Path(metrics.__file__).parent
    text = "".join(file.read_text() for file in package.rglob("*.py"))
    made = [name for name in vars(Metrics.in_memory()) if name != "registry"]

    assert [name for name in made if not re.search(rf"\.{name}\.(inc|observe)\(", text)] == []


def test_expected_series_begin_at_zero() -> None:
    """A series that is expected is shown before it counts, and counts on."""
    book = Metrics.in_memory()
    book.calls.expect("acme", "ok")
    shown = book.registry.get_sample_value(
        "reportd_calls_total", {"partner": "acme", "outcome": "ok"}
    )
    book.calls.inc("acme", "ok")
    book.calls.expect("acme", "ok")

    assert shown == 0
    assert book.value("reportd_calls_total", partner="acme", outcome="ok") == 1


UNITS_NOT_BASE = re.compile(r"(milli|micro|_ms_|_minutes|_hours|_kb|_mb)")


@pytest.mark.parametrize("declared", ALL, ids=lambda declared: declared.name)
def test_units_are_base_units(declared: Declared) -> None:
    """Seconds and bytes; an instant says that it is one."""
    assert not UNITS_NOT_BASE.search(declared.name)
    if "epoch" in declared.help:
        assert declared.name.endswith("_timestamp_seconds")
    if "Bytes" in declared.help:
        assert declared.name.endswith(("_bytes", "_bytes_total"))


@pytest.mark.parametrize("path", sorted(rendered()))
def test_rendered_files_are_current(path: Path) -> None:
    """``python -m reportd.observer.render`` was run after the last change."""
    assert (Path(metrics.__file__).parents[1] / path).read_text() == rendered()[path]
