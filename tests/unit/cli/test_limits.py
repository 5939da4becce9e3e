"""``reportctl limits``: what of each limit is used, and what waits for it."""

import pytest

from reportd.cli.commands.limits import show


def test_use_holders_and_what_waits_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks why nothing goes sees which limit it is, and when there is more."""
    limit = {"partner": "acme", "per": "account", "scopes": 200, "busiest": "acc-7",
             "share": 0.987, "waiting": 41, "workers": ["worker-1", "worker-3"]}  # fmt: skip
    quota = {"partner": "acme", "per": "credential", "value": "main", "calls": 12.0,
             "resets_at": 1_763_784_000.0}  # fmt: skip

    show({"limits": [limit], "quotas": [quota]})

    said = " ".join(capsys.readouterr().out.split())
    assert "acme account 200 acc-7 99% 41 worker-1, worker-3" in said
    assert "acme credential main 12 2025-11-22" in said
