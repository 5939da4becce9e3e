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


def test_what_other_vms_say_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever looks on one VM sees the whole fleet, who holds what, and who says nothing."""
    limit = {"partner": "bolt", "per": "partner", "scopes": 1, "busiest": "bolt", "share": 0.5,
             "waiting": 7, "workers": ["worker-2"], "vm": "vm-b"}  # fmt: skip
    quota = {"partner": "bolt", "per": "account", "value": "7", "calls": 3.0,
             "resets_at": 1_763_784_000.0, "vm": "vm-b"}  # fmt: skip
    said = {"limits": [limit], "quotas": [quota], "silent": ["vm-c"]}

    show({"limits": [], "elsewhere": said, "broker": {"error": "timed out"}})

    shown = " ".join(capsys.readouterr().out.split())
    assert "bolt partner 1 bolt 50% 7 worker-2 on vm-b" in shown
    assert "bolt account 7 3 2025-11-22" in shown
    assert "vm-c does not say what it holds: ask there" in shown
    assert "the broker does not answer, other VMs were heard before that: timed out" in shown
