"""What came of a run of the demo: the summary, the table, where to look."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from reportd.demo.audit import Broken, Evidence, repeated_calls
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Partner
from reportd.demo.simulator.usage import Span, Usage, limit_usage
from reportd.model.ledger import End


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What ``summary.json`` holds, for one partner or for all."""

    requests: int
    results: int
    dead_letters: int
    files: int
    rows: int
    calls: int
    finished_calls_repeated: int
    throttled: int
    """Answers that said "slow down", whatever way the partner says it."""
    limit_used: float
    """Share of the limit used while there was demand (0 to 1)."""
    seconds: float


def binding_usage(partner: Partner, calls: Sequence[SeenCall], stops: Sequence[Span]) -> Usage:
    """Return the usage of the limit that was used the most: the one that held things up."""
    usages = [limit_usage(limit, calls, stops) for limit in partner.limits]
    measured = [usage for usage in usages if usage.allowed > 0]
    return max(measured, key=lambda usage: usage.share, default=Usage(0.0, 0.0))


def summarize(evidence: Evidence, stops: Sequence[Span], seconds: float) -> dict[str, Summary]:
    """Return a summary for each partner, and of all as ``""``."""
    usages = {
        name: binding_usage(partner, _of(evidence.calls, name), stops)
        for name, partner in evidence.partners.items()
    }
    repeats = repeated_calls(evidence)
    found = {
        name: _summary(evidence, {name}, repeats, usage, seconds) for name, usage in usages.items()
    }
    total = Usage(
        sum(usage.used for usage in usages.values()),
        sum(usage.allowed for usage in usages.values()),
    )
    return {**found, "": _summary(evidence, set(usages), repeats, total, seconds)}


def _of(calls: Sequence[SeenCall], partner: str) -> list[SeenCall]:
    return [call for call in calls if call.partner == partner]


def _summary(
    evidence: Evidence, names: set[str], repeats: Sequence[SeenCall], usage: Usage, seconds: float
) -> Summary:
    requests = [name for name, one in evidence.requests.items() if one.partner in names]
    ends = [
        record
        for name in requests
        if (found := evidence.ledgers.ends.get(name)) and isinstance(record := found[0].record, End)
    ]
    results = [end for end in ends if end.state == "result"]
    calls = [call for call in evidence.calls if call.partner in names]
    return Summary(
        requests=len(requests),
        results=len(results),
        dead_letters=sum(1 for end in ends if end.state == "dead"),
        files=sum(len(end.files) for end in results),
        rows=sum(end.rows for end in results),
        calls=len(calls),
        finished_calls_repeated=sum(1 for call in repeats if call.partner in names),
        throttled=sum(1 for call in calls if call.fault in {"limit", "throttle"}),
        limit_used=round(usage.share, 4),
        seconds=round(seconds, 1),
    )


_LABELS: Mapping[str, str] = {"throttled": "429s received", "limit_used": "share of limit used"}


def print_table(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Print the table: a column for each partner, and one for all."""
    table = Table(title="What came of it")
    table.add_column()
    for name in summaries:
        table.add_column(name or "all", justify="right", style="bold" if not name else "")
    for field in asdict(summaries[""]):
        values = []
        for name, summary in summaries.items():
            value = getattr(summary, field)
            if field == "limit_used":
                values.append(f"{value:.1%}")
            else:
                values.append("" if field == "seconds" and name else f"{value:,}")
        table.add_row(_LABELS.get(field, field.replace("_", " ")), *values)
    console.print(table)


def print_where_to_look(console: Console, output: Path) -> None:
    """Print how to look at the files: pyarrow is there, DuckDB may be."""
    root = output / "acme" / "campaigns"
    asks = f"import pyarrow.dataset as d; print(d.dataset('{root}').to_table().to_pandas())"
    asks = asks.replace(".to_pandas()", ".slice(0, 5).to_pylist()")
    query = f"SELECT date, sum(cost) FROM '{root}/**/*.parquet' GROUP BY date ORDER BY date"
    console.print("Look at the files:", highlight=False)
    for line in (f'  .venv/bin/python -c "{asks}"', f'  duckdb -c "{query}"'):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_broken(console: Console, broken: Sequence[Broken]) -> None:
    """Print every broken promise, or that there is none."""
    if not broken:
        console.print("Every promise was kept.", style="green")
    for one in broken:
        console.print(f"BROKEN  {one}", style="red", highlight=False, markup=False)


def write_summary(path: Path, summary: Summary) -> None:
    """Write ``summary.json``."""
    path.write_bytes(orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2) + b"\n")
