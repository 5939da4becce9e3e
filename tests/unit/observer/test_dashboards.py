"""Grafana's dashboards: what grafana/dashboard-linter asks for, rule by rule, and no dead words.

The linter itself is not to be had where these tests run (it is a Go module that the proxy does not
serve); the rules that it names are checked here one by one, but for LogQL's. That the queries are
right PromQL, and what they give, is tried in a real Prometheus: tests/system/test_dashboards.py.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reportd.metrics import ALL, COUNTED

FOLDER = Path(__file__).parents[3] / "etc" / "grafana" / "dashboards"
BOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))
}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
UNITS = {"short", "none", "s", "bytes", "Bps", "percentunit", "reqps", "ops", "wps"}
"""Those of Grafana's units that are used."""
BUILT_IN = {"job", "instance"}
LABELS = {declared.name: set(declared.labels) for declared in ALL}

each_board = pytest.mark.parametrize("name", sorted(BOARDS))
each_panel = pytest.mark.parametrize(
    ("name", "panel"), PANELS, ids=lambda one: one if isinstance(one, str) else one["title"]
)


def variables(name: str) -> dict[str, dict[str, Any]]:
    """Return what can be chosen above a dashboard."""
    return {one["name"]: one for one in BOARDS[name]["templating"]["list"]}


def selectors(query: str) -> list[tuple[str, str]]:
    """Return the metrics of a query with their matchers; a name without any has none."""
    unlabelled = re.sub(r"\b(?:by|on|group_left|group_right) \([^)]*\)", "", query)
    found: list[tuple[str, str]] = re.findall(r"\b(\w+)\b(?! *\()(?:\{([^}]*)\})?", unlabelled)
    return [(name, matchers) for name, matchers in found if matchers or name.startswith("reportd")]


@each_board
def test_template_rules(name: str) -> None:
    """template-datasource, -job, -instance, -label-promql and -on-time-change-reload rules."""
    chosen = variables(name)
    source = chosen.pop("datasource")

    assert source["type"] == source["name"] == "datasource"
    assert (source["query"], source["label"]) == ("prometheus", "Data source")
    assert chosen.keys() >= BUILT_IN
    for variable, one in chosen.items():
        assert one["type"] == "query"
        assert one["label"] == variable.title()
        assert one["datasource"]["uid"] == "${datasource}"
        assert one["multi"] is True
        assert one["allValue"] == ".+"
        assert one["refresh"] == 2
        matchers = r"\{\w+=~\"\$\w+\"(?:, \w+=~\"\$\w+\")*\}"
        asked = re.fullmatch(rf"label_values\((reportd_\w+)({matchers})?, (\w+)\)", one["query"])
        assert asked is not None
        assert asked[3] == variable
        assert asked[1] in LABELS
        assert variable in LABELS[asked[1]] | BUILT_IN


@each_board
def test_uneditable_dashboard_rule(name: str) -> None:
    """What is provisioned is not edited in place; its uid is its file's name."""
    assert BOARDS[name]["editable"] is False
    assert BOARDS[name]["uid"] == name


@each_panel
def test_panel_rules(name: str, panel: dict[str, Any]) -> None:
    """panel-datasource, -title-description, -units and -no-targets rules."""
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    (target,) = panel["targets"]
    assert target["datasource"]["uid"] == "${datasource}"
    named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
    assert named <= grouped
    assert target["legendFormat"]
    assert name in BOARDS


@each_panel
def test_target_rules(name: str, panel: dict[str, Any]) -> None:
    """target-job, -instance, -rate-interval, -counter-agg rules; every name is declared."""
    query = panel["targets"][0]["expr"]
    counters = {declared.name for declared in COUNTED} | {
        declared.name for declared in ALL if declared.kind == "counter"
    }
    found = selectors(query)

    assert found
    for metric, matchers in found:
        base = metric.removesuffix("_bucket")
        assert {'job=~"$job"', 'instance=~"$instance"'} <= set(matchers.split(", "))
        assert base in LABELS
        assert set(re.findall(r"(\w+)=", matchers)) - BUILT_IN <= LABELS[base]
        if "partner" in variables(name):
            assert 'partner=~"$partner"' in matchers
        if base in counters:
            assert f"rate({metric}{{{matchers}}}[$__rate_interval])" in query
    assert re.findall(r"\[([^]]*)\]", query) in ([], ["$__rate_interval"])


@each_board
def test_panels_do_not_overlap(name: str) -> None:
    """Each has its own place on the grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    titles = [panel["title"] for panel in BOARDS[name]["panels"]]
    assert len(titles) == len(set(titles))
