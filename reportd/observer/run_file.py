"""What stands at the output of a run that is over: its file, the list of its files, days' marks.

Pure. All of it lies in ``_reportd/``, beside the data. The run's file says everything that the
days' marks and the `Finished` record say, so whoever finds it there goes on from it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import orjson

from reportd.errors import OutputError
from reportd.model.content import Content, chunks_of
from reportd.model.ledger import End
from reportd.model.run import Finished, RunId, RunOrder, order_of
from reportd.observer.run_sum import Missing, RunSum
from reportd.observer.runs import Due
from reportd.sinks.paths import encode
from reportd.sinks.staging import OWN

SUCCESS = "_SUCCESS"
PARTIAL = "_PARTIAL"

Document = Mapping[str, Any]
DayKey = tuple[str, str, str]
"""Partner, report, day."""


def file_name(run: str, mend: int) -> str:
    """Return where a run's file lies: ``runs/<schedule>/<slot>#<revision>.json``, encoded."""
    return f"{_stem(run, mend)}.json"


def list_name(run: str, mend: int, mark: str = "") -> str:
    """Return where the list of a run's files lies, one JSON object a line.

    ``mark`` tells apart what was found at different times: two VMs that are at it at once do not
    write over each other's, and the run's file names its own.
    """
    return f"{_stem(run, mend)}{mark and '.'}{mark}.files"


def content_mark(files: Content) -> str:
    """Return what tells a list of files from one that was found at another time."""
    found = hashlib.sha256()
    for chunk in chunks_of(files):
        found.update(chunk)
    return found.hexdigest()[:12]


def list_in(found: Document) -> str:
    """Return where the list lies that belongs to a run's file, or to a day's mark."""
    listed = str(found.get("list", ""))
    return listed.removeprefix(f"{OWN}/") or list_name(found["run"], found["mend"])


def _stem(run: str, mend: int) -> str:
    schedule, _, slot = run.partition("/")
    return f"runs/{encode(schedule)}/{encode(slot)}" + (f".mended-{mend}" if mend else "")


def day_folder(partner: str, report: str, day: str) -> str:
    """Return where a day's mark lies."""
    return f"days/{encode(partner)}/{encode(report)}/{encode(day)}"


def lines_of(partner: str, end: End) -> bytes:
    """Return the lines of the list that a result makes."""
    return b"".join(
        orjson.dumps(
            {
                "partner": partner,
                "report": end.report,
                "account": end.account,
                "request": end.id,
                **file.model_dump(),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for file in end.files
    )


def document(
    due: Due, mend: int, listed: str, total: RunSum, unasked: Sequence[Missing], wall: float
) -> Document:
    """Return a run's file; ``unasked`` are the requests that should have been made.

    ``listed`` is where the list of its files lies.
    """
    manifest = due.manifest
    missing = [*total.missing(), *unasked]
    reports = total.reports()
    is_partial = any(covered.missing for covered in reports.values()) or bool(missing)
    return {
        "v": 1,
        "run": manifest.run,
        "mend": mend,
        "state": "partial" if is_partial else "complete",
        "requests": manifest.requests,
        "states": {state: count for state, count in sorted(total.states.items()) if count},
        "files": sum(one.files for one in reports.values()),
        "unchanged": sum(one.unchanged for one in reports.values()),
        "rows": sum(one.rows for one in reports.values()),
        "bytes": sum(one.bytes for one in reports.values()),
        "list": f"{OWN}/{listed}",
        "deadline": manifest.deadline,
        "enqueued_at": manifest.enqueued_at,
        "first_call_at": _finite(total.first_call_at),
        "last_end_at": _finite(total.last_end_at),
        "finished_at": wall,
        "ids_hash": manifest.ids_hash,
        "mendings": due.mendings,
        "reports": {name: covered.model_dump() for name, covered in reports.items()},
        "days": _days(total, missing),
        "missing": [
            {
                "partner": one.partner,
                "report": one.report,
                "account": one.account,
                "first_day": one.first_day,
                "last_day": one.last_day,
                "why": one.why,
                "id": one.id,
            }
            for one in missing
        ],
    }


def _days(total: RunSum, missing: Sequence[Missing]) -> list[dict[str, Any]]:
    absent: dict[tuple[str, str, str], set[str]] = {}
    for one in missing:
        for day in one.days():
            absent.setdefault((one.partner, one.report, day), set()).add(one.account)
    asked = {
        (partner, report, day): accounts
        for (partner, report), by_day in total.asked_by_day().items()
        for day, accounts in by_day.items()
    }
    found = []
    for partner, report, day in sorted({*asked, *absent}):
        key = (partner, report, day)
        day_total = total.days.get(key)
        found.append(
            {
                "partner": partner,
                "report": report,
                "day": day,
                "accounts": asked.get(key, 0),
                "missing": len(absent.get(key, ())),
                "provisional": day_total.provisional if day_total else 0,
                "files": day_total.files if day_total else 0,
                "unchanged": day_total.unchanged if day_total else 0,
                "rows": day_total.rows if day_total else 0,
                "bytes": day_total.bytes if day_total else 0,
            }
        )
    return found


def _finite(at: float) -> float | None:
    return at if abs(at) < float("inf") else None


def document_in(data: bytes | None) -> Document | None:
    """Return what a run's file says; None: there is none. Raises `OutputError`."""
    if data is None:
        return None
    try:
        found: Document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise OutputError(f"a run's file does not parse: {error}") from None
    return found


def marks_of(found: Document) -> Iterator[Document]:
    """Yield what each day's mark says, as far as this run knows."""
    absent: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for one in found["missing"]:
        missing = Missing(**one)
        for day in missing.days():
            said = {
                "account": missing.account,
                "why": missing.why,
                "id": missing.id,
                "run": found["run"],
            }
            absent.setdefault((missing.partner, missing.report, day), []).append(said)
    for day in found["days"]:
        key = (day["partner"], day["report"], day["day"])
        yield {
            "v": 1,
            "run": found["run"],
            "mend": found["mend"],
            "at": found["finished_at"],
            "list": found.get("list", ""),
            **day,
            "missing": absent.get(key, []),
        }


def settled(
    mark: Document, standing: Document | None, published: Callable[[Document], Set[str]]
) -> Document | None:
    """Return what a day's mark says after this run's, given what stands there; None: that stays.

    A run speaks for the accounts that it asked for: what another one lacks of others is missing,
    whichever of the two comes later (``published``: of whom a mark's run has files of the day). An
    older run's mend takes back what it had said itself.
    """
    if standing is None:
        return mark
    before: list[Document] = standing["missing"]
    if _order(standing) > _order(mark):
        still = {one["account"] for one in mark["missing"]}
        kept = [
            one
            for one in before
            if one.get("run", standing["run"]) != mark["run"] or one["account"] in still
        ]
        missing = [*kept, *_uncovered(mark["missing"], kept, standing, published)]
        return None if missing == before else {**standing, "missing": missing}
    others = [
        {"run": standing["run"], **one}
        for one in before
        if one.get("run", standing["run"]) != mark["run"]
    ]
    uncovered = _uncovered(others, mark["missing"], mark, published)
    return {**mark, "missing": [*mark["missing"], *uncovered]}


def _uncovered(
    missing: Sequence[Document],
    known: Sequence[Document],
    by: Document,
    published: Callable[[Document], Set[str]],
) -> list[Document]:
    """Return what is not ``known`` to be missing, and that a newer run's mark does not bring."""
    names = {one["account"] for one in known}
    others = [one for one in missing if one["account"] not in names]
    covered = published(by) if others else frozenset()
    return [one for one in others if one["account"] not in covered]


def accounts_in(chunks: Iterable[bytes], wanted: Set[str]) -> Mapping[DayKey, Set[str]]:
    """Return which of some accounts a run's list has a file of, for each report's day."""
    found: dict[DayKey, set[str]] = {}
    for line in _lines(chunks):  # one at a time: there may be a million
        one = orjson.loads(line)
        if one["account"] in wanted:
            found.setdefault((one["partner"], one["report"], one["day"]), set()).add(one["account"])
    return found


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def mark_in(data: bytes | None) -> Document | None:
    """Return what a mark that stands there says; a strange one says nothing."""
    try:
        found: Document = orjson.loads(data or b"")
        _order(found), [str(one["account"]) for one in found["missing"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return found


def _order(mark: Document) -> tuple[RunOrder, int]:
    return order_of(str(mark["run"])), int(mark["mend"])


def finished_of(found: Document, *, notified: bool) -> Finished:
    """Return the record that a run's file comes to."""
    fields = {name: found[name] for name in Finished.model_fields if name in found}
    own = {
        "v": 1,
        "file": f"{OWN}/{file_name(found['run'], found['mend'])}",
        "notified": notified,
    }
    return Finished.model_validate(fields | own)


def schedule_of(run: str) -> str:
    """Return whose run it is."""
    return RunId.parse(run).schedule
