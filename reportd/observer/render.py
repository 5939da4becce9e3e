"""Write what people read and Grafana imports: ``python -m reportd.observer.render [ROOT]``.

``docs/metrics.rst`` follows from the declarations in `reportd.metrics`, ``etc/grafana/dashboards``
from `reportd.observer.dashboards`; a test says when they are not current.
"""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from reportd.metrics import COUNTED, MAX_SERIES, OBSERVED, OTHER, Declared
from reportd.observer.dashboards import DASHBOARDS
from reportd.observer.panels import as_json

_HEAD = f"""\
.. Rendered by ``python -m reportd.observer.render`` from reportd/metrics.py.

Metrics
=======

What ``/metrics`` shows; how to scrape it and what to make of it is in `monitoring.rst
<monitoring.rst>`_. Units are seconds and bytes; a ``timestamp`` is seconds since the epoch.

Labels are bounded: partners, outcomes, states, schedules, workers; never an account or an id. From
{MAX_SERIES} label sets of one metric on, what comes new is counted as ``{OTHER}``.

Several VMs: what a VM's own workers do adds up (*sum*). What describes the whole group (offsets,
runs, schedules) is shown by every VM alike: take the *max* (or *min*), never the sum. The alert
rules and dashboards of ``etc/`` do so.
"""
_ACROSS = {
    "sum": "Over VMs: sum.",
    "max": "Over VMs: max.",
    "min": "Over VMs: min.",
    "each": "Of one VM: look at each.",
}


def page() -> str:
    """Return the reference."""
    return _HEAD + "\n".join(
        [
            *_section("What workers count", _COUNTED, COUNTED),
            *_section("What the observer sees", _OBSERVED, OBSERVED),
        ]
    )


_COUNTED = """\
Counters and histograms belong to a worker's number, not its pid: a worker that is replaced goes on
where the one before was killed, so none goes backwards until the daemon is restarted. They are read
every few seconds, whoever scrapes how often."""
_OBSERVED = "Made anew every second: numbers of a worker that is gone vanish."


def rendered() -> dict[Path, str]:
    """Return the files, by their path in the repository."""
    folder = Path("etc/grafana/dashboards")
    return {
        Path("docs/metrics.rst"): page(),
        **{folder / f"{one.uid}.json": as_json(one) for one in DASHBOARDS},
    }


def _section(title: str, words: str, declared: tuple[Declared, ...]) -> Iterator[str]:
    yield f"\n{title}\n{'-' * len(title)}\n\n{words}\n"
    for one in declared:
        labels = f"{{{','.join(one.labels)}}}" if one.labels else ""
        yield f"``{one.name}{labels}`` ({one.kind})"
        yield textwrap.fill(
            f"{one.help} {_ACROSS[one.across]}",
            96,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield ""


def main(root: Path) -> None:
    """Write the files below the repository's root."""
    for path, text in rendered().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
