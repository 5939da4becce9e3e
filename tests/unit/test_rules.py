"""Prometheus' rules: each alert is explained, tried, and made of metrics that there are.

What they do is tried with promtool: tests/integration/test_rules.py.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from reportd.metrics import ALL
from reportd.observer.dashboards import DASHBOARDS
from tests.prometheus import HISTORIES, RULES

ROOT = Path(__file__).parents[2]
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDS = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
LABELS = {
    f"{declared.name}{suffix}": set(declared.labels)
    for declared in ALL
    for suffix in SUFFIXES.get(declared.kind, ("",))
}


def entries() -> dict[str, str]:
    """Return the runbook's entries by their titles."""
    found = re.split(r"^(\w+)\n~+\n", (ROOT / "docs" / "runbook.rst").read_text(), flags=re.M)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_every_alert_is_in_the_runbook() -> None:
    """In the same words' order: what it means, what to look at, what to do; and no other is."""
    found = entries()

    assert found.keys() == ALERTS.keys()
    for name, text in found.items():
        parts = re.findall(r"^\*\*(Means|Look at|Do)\*\* ", text, re.M)
        assert parts == ["Means", "Look at", "Do"], name


def test_the_runbook_names_panels_as_they_are_called() -> None:
    """Whoever is woken finds them."""
    text = " ".join((ROOT / "docs" / "runbook.rst").read_text().split())
    titles = {panel.title for board in DASHBOARDS for panel in board.panels}
    boards = {board.title.removeprefix("reportd: ").capitalize() for board in DASHBOARDS}
    named = re.findall(r"panel \*([^*]+)\*", text)

    assert len(named) >= 2
    assert set(named) <= titles
    assert set(re.findall(r"dashboard \*([^*]+)\*", text)) <= boards


def test_the_number_of_alerts_is_said() -> None:
    """Where it is said how to load them."""
    text = (ROOT / "docs" / "monitoring.rst").read_text()

    assert re.findall(r"^(\d+) alerts;", text, re.M) == [str(len(ALERTS))]


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_leads_to_its_entry(name: str) -> None:
    """Whoever is woken reads what it is, and where to read on."""
    rule = ALERTS[name]
    notes = rule["annotations"]

    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"/usr/share/doc/reportd/runbook.rst#{name.lower()}"
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert name.startswith("Reportd")


def test_every_alert_is_tried() -> None:
    """Some history makes it fire."""
    tried: set[str] = set()
    for file in HISTORIES:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for one in test["promql_expr_test"]:
                told = " ".join(each["labels"] for each in one["exp_samples"])
                tried |= set(re.findall(r'alertname="(\w+)"', told))

    assert tried == ALERTS.keys()


@pytest.mark.parametrize("name", sorted(ALERTS | RECORDS))
def test_rules_use_what_is_declared(name: str) -> None:
    """Every metric in a rule is one of `reportd.metrics`, with labels that it has."""
    expression = (ALERTS | RECORDS)[name]["expr"]
    used = re.findall(r"\b(reportd_[a-z_0-9]+)(?:\{([^}]*)\})?", expression)
    records = set(re.findall(r"\b(reportd:[a-z_0-9:]+)", expression))

    assert {metric for metric, _ in used} <= LABELS.keys()
    for metric, matchers in used:
        assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= LABELS[metric]
    assert records <= RECORDS.keys()
    assert used or records or "up{" in expression


@pytest.mark.parametrize("name", sorted(ALERTS | RECORDS))
def test_rules_put_vms_together_as_declared(name: str) -> None:
    """What every VM shows alike is never summed, what adds up is never just the largest."""
    across = {declared.name: declared.across for declared in ALL}
    expression = (ALERTS | RECORDS)[name]["expr"]
    found = re.findall(
        r"\b(sum|max|min|count)(?:\s+by\s+\(([^)]*)\))?\s*\((?:rate\(|increase\()?(reportd_[a-z_]+)",
        expression,
    )
    for how, by, metric in found:
        if across[metric] == "each":
            assert "instance" in by, f"{how} of {metric}"
        else:
            assert how == across[metric], f"{how} of {metric}"
