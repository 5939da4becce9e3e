"""Prometheus' rules on histories: which alerts fire when, and which must not. With promtool."""

import subprocess
from pathlib import Path

import pytest

from tests.prometheus import ETC, HISTORIES, RULES


def run(*command: str) -> None:
    """Run promtool; fails with its words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_configuration_are_right(promtool: str, tmp_path: Path) -> None:
    """Both as people get them, in one folder."""
    for file in (RULES, ETC / "prometheus.yml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())

    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    run(promtool, "check", "config", str(tmp_path / "prometheus.yml"))


@pytest.mark.parametrize("history", HISTORIES, ids=lambda file: file.stem)
def test_history(promtool: str, history: Path) -> None:
    """What fires at each of its times is what the file says, and nothing else does."""
    run(promtool, "test", "rules", str(history))
