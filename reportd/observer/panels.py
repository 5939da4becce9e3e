"""A dashboard as data, and the JSON that Grafana imports. Pure.

Every query is made of declared metrics (`reportd.metrics`), and puts VMs together as they say: what
describes the whole group is never summed. The rules of grafana/dashboard-linter are kept to; a test
has them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from reportd import metrics
from reportd.metrics import Declared

RATE = "[$__rate_interval]"
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One question, its query, and how the answer is shown."""

    title: str
    description: str
    query: str
    legend: str
    unit: str = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    stacked: bool = False
    width: int = 8
    height: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Panels in rows, and the labels that can be chosen above them."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    chosen: tuple[str, ...] = ()
    """Labels besides job and instance: ``partner``."""


def series(declared: Declared, *chosen: str, suffix: str = "", **wanted: str) -> str:
    """Return the selector of a metric; ``chosen`` labels follow the dashboard's variables."""
    matchers = [f'{label}=~"${label}"' for label in ("job", "instance", *chosen)]
    matchers += [f'{label}="{value}"' for label, value in wanted.items()]
    return f"{declared.name}{suffix}{{{', '.join(matchers)}}}"


def over_vms(declared: Declared, *by: str, chosen: tuple[str, ...] = (), **wanted: str) -> str:
    """Return a metric over all VMs, by labels, as it is declared to be put together."""
    found = series(declared, *chosen, **wanted)
    if declared.kind == "counter":
        return f"sum by ({', '.join(by)}) (rate({found}{RATE}))"
    how = "max" if declared.across == "each" else declared.across
    return f"{how} by ({', '.join(by)}) ({found})" if by else f"{how}({found})"


def quantile(declared: Declared, share: float, *by: str, chosen: tuple[str, ...] = ()) -> str:
    """Return a histogram's quantile over all VMs."""
    found = series(declared, *chosen, suffix="_bucket")
    labels = ", ".join((*by, "le"))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({found}{RATE})))"


def as_json(dashboard: Dashboard) -> str:
    """Return what Grafana imports."""
    made = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["reportd"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-12h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {
                "type": "dashboards",
                "title": "reportd",
                "tags": ["reportd"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {
            "list": [_source(), *map(_variable, ("job", "instance", *dashboard.chosen))]
        },
        "panels": list(_placed(dashboard.panels)),
    }
    return json.dumps(made, indent=2) + "\n"


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }


def _variable(label: str) -> dict[str, Any]:
    of = metrics.OPEN_REQUESTS if label == "partner" else metrics.CHILD_UP
    among = {"job": of.name, "instance": f'{of.name}{{job=~"$job"}}'}
    shown = among.get(label, series(of))
    return {
        "name": label,
        "label": label.title(),
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({shown}, {label})",
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _placed(panels: tuple[Panel, ...]) -> Iterator[dict[str, Any]]:
    x = y = tallest = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _WIDTH:
            x, y, tallest = 0, y + tallest, 0
        yield _panel(panel, number, x, y)
        x, tallest = x + panel.width, max(tallest, panel.height)


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.stacked:
        defaults["custom"] = {"fillOpacity": 20, "stacking": {"mode": "normal"}}
    shown: dict[str, Any] = {
        "timeseries": {"legend": {"showLegend": True}, "tooltip": {"mode": "multi"}},
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"},
    }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": shown[panel.kind],
        "targets": [
            {
                "refId": "A",
                "datasource": _SOURCE,
                "expr": panel.query,
                "legendFormat": panel.legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
        ],
    }
