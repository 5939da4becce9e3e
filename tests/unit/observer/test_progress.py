"""Rates and ETA."""

import pytest

from reportd.observer.progress import Progress


def test_rate_and_eta() -> None:
    """Ten a second and a thousand to go is a hundred seconds."""
    progress = Progress()
    for second in range(20):
        progress.note("acme", "worker-0", second * 10.0)
        progress.tick("acme", float(second), remaining=1000)

    assert progress.rate("acme") == pytest.approx(10.0)
    assert progress.eta_seconds("acme", 1000) == pytest.approx(100.0)


def test_nothing_to_tell_at_first() -> None:
    """Before some seconds have passed there is no rate, and no ETA but for nothing."""
    progress = Progress()
    progress.note("acme", "here", 5.0)
    progress.tick("acme", 0.0, remaining=10)

    assert progress.rate("acme") is None
    assert progress.eta_seconds("acme", 10) is None
    assert progress.eta_seconds("acme", 0) == 0.0
    assert progress.rate("unheard of") is None


def test_standing_still_has_no_eta() -> None:
    """While nothing ends the ETA is unknown, not infinite and not zero."""
    progress = Progress()
    for second in range(20):
        progress.note("acme", "here", 7.0)
        progress.tick("acme", float(second), remaining=10)

    assert progress.rate("acme") == 0.0
    assert progress.eta_seconds("acme", 10) is None


def test_sources_add_up_and_may_start_anew() -> None:
    """Two sources are one rate; a source that goes back counts from zero again."""
    progress = Progress()
    counts = {"a": [0.0, 10.0, 2.0], "b": [100.0, 105.0, 113.0]}
    for turn in range(3):
        for source in counts:
            progress.note("acme", source, counts[source][turn])
        progress.tick("acme", turn * 5.0, remaining=1)

    assert progress.rate("acme") == pytest.approx((10 + 2 + 5 + 8) / 10)


def test_idle_time_does_not_count() -> None:
    """A day's new work is not judged by the hours in which there was none."""
    progress = Progress()
    for second in range(100):
        progress.tick("acme", float(second), remaining=0)
    for second in range(100, 110):
        progress.note("acme", "here", (second - 99) * 2.0)
        progress.tick("acme", float(second), remaining=50)

    assert progress.rate("acme") == pytest.approx(2.0, rel=0.2)


def test_only_the_window_counts() -> None:
    """What was fast long ago does not make the present look fast."""
    progress = Progress(window_seconds=60.0)
    total = 0.0
    for second in range(400):
        total += 100.0 if second < 100 else 1.0
        progress.note("acme", "here", total)
        progress.tick("acme", float(second), remaining=1)

    assert progress.rate("acme") == pytest.approx(1.0)


def test_source_taken_over_is_forgotten() -> None:
    """A partition that moves here and back is not counted for the time it was here."""
    progress = Progress()
    progress.note("acme", "t[0]", 100.0)
    progress.tick("acme", 0.0, remaining=1)
    progress.forget("acme", "t[0]")
    progress.note("acme", "t[0]", 900.0)
    progress.tick("acme", 10.0, remaining=1)

    assert progress.rate("acme") == 0.0


def test_the_eta_is_not_before_the_slowest_accounts_end() -> None:
    """A hundred accounts that are nearly done say little of the one that is not."""
    progress = Progress()
    for second in range(60):
        progress.note("acme", "here", second * 100.0)
        progress.tick("acme", float(second), remaining=1000)

    assert progress.eta_seconds("acme", 1000) == pytest.approx(10.0)
    assert progress.eta_seconds("acme", 1000, 5.0) == pytest.approx(10.0)
    assert progress.eta_seconds("acme", 1000, 900.0) == 900.0
    assert progress.eta_seconds("acme", 0, 900.0) == 0.0
