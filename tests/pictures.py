"""Draws a dashboard as SVG, from what a real Prometheus gives for its panels.

No Grafana server is to be had where these tests run: the docs' pictures are made of the dashboards'
JSON and real answers, by tests/system/test_dashboards.py.
"""

import html
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.prometheus import Points

_CELL, _ROW = 50, 28
_COLOURS = ("#3274d9", "#e0752d", "#299c46", "#8f3bb8", "#c4162a", "#0a9ea4", "#b8860b", "#5c6370")
_SIZES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_SPANS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))


def picture(board: Mapping[str, Any], given: Mapping[str, Mapping[str, Points]]) -> str:
    """Return the SVG; ``given``: by panel's title and by series' name."""
    tall = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in board["panels"]) * _ROW + 34
    drawn = "".join(line for one in board["panels"] for line in _panel(one, given[one["title"]]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * _CELL} {tall}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{24 * _CELL}" height="{tall}" fill="#f4f5f5"/>\n'
        f'<text x="8" y="22" font-size="16">{html.escape(board["title"])}</text>\n{drawn}</svg>\n'
    )


def _panel(panel: Mapping[str, Any], series: Mapping[str, Points]) -> Iterator[str]:
    at = panel["gridPos"]
    x, y = at["x"] * _CELL + 4, at["y"] * _ROW + 34
    wide, tall = at["w"] * _CELL - 8, at["h"] * _ROW - 8
    yield f'<g transform="translate({x} {y})">\n'
    yield f'<rect width="{wide}" height="{tall}" fill="#fff" stroke="#ddd"/>\n'
    yield f'<text x="8" y="18" font-weight="bold">{html.escape(panel["title"])}</text>\n'
    unit = panel["fieldConfig"]["defaults"]["unit"]
    shown = dict(sorted(series.items(), key=lambda one: -one[1][-1][1])[: len(_COLOURS)])
    if panel["type"] == "stat":
        yield from _numbers(shown, unit)
    else:
        yield from _lines(shown, unit, wide, tall)
    yield "</g>\n"


def _numbers(series: Mapping[str, Points], unit: str) -> Iterator[str]:
    for number, (name, points) in enumerate(series.items()):
        y = 46 + 26 * number
        yield f'<text x="8" y="{y}" font-size="18">{said(points[-1][1], unit)}'
        yield f'<tspan dx="8" font-size="12" fill="#666">{html.escape(name)}</tspan></text>\n'


def _lines(series: Mapping[str, Points], unit: str, wide: int, tall: int) -> Iterator[str]:
    left, right, top = 64, wide - 10, 28
    names = [f"{name}: {said(points[-1][1], unit)}" for name, points in series.items()]
    columns = 2 if max(map(len, names), default=0) < wide / 2 / 7 else 1
    bottom = tall - 14 - 15 * -(-len(series) // columns)
    times = [t for points in series.values() for t, _ in points]
    most = max((v for points in series.values() for _, v in points), default=0.0) or 1.0
    first, last = min(times, default=0.0), max(times, default=1.0)

    def place(t: float, v: float) -> str:
        x = left + (right - left) * (t - first) / ((last - first) or 1.0)
        return f"{x:.1f},{bottom - (bottom - top) * v / most:.1f}"

    for share in (0.0, 0.5, 1.0):
        y = bottom - (bottom - top) * share
        yield f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="#eee"/>\n'
        yield f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" fill="#666">'
        yield f"{said(most * share, unit)}</text>\n"
    for number, points in enumerate(series.values()):
        colour = _COLOURS[number]
        line = " ".join(place(t, v) for t, v in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>\n'
        x, y = 10 + (wide // 2) * (number % columns), bottom + 20 + 15 * (number // columns)
        words = html.escape(names[number])
        yield f'<rect x="{x}" y="{y - 8}" width="10" height="4" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="{y}" font-size="11">{words}</text>\n'


def said(value: float, unit: str) -> str:
    """Return a value with its unit, as Grafana says it."""
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        return _scaled(value, _SPANS, " s")
    end = {"bytes": " B", "Bps": " B/s", "reqps": " req/s", "ops": " /s", "wps": " /s"}
    return _scaled(value, _SIZES, end.get(unit, ""))


def _scaled(value: float, sizes: Iterable[tuple[float, str]], end: str) -> str:
    for size, name in sizes:
        if abs(value) >= size:
            return f"{value / size:.3g} {name}{end if end != ' s' else ''}"
    return f"{value:.3g}{end}"
