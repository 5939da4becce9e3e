"""One damaged answer's way: judged, parsed in one go, and parsed in pieces."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from reportd.errors import UnexpectedAnswerError
from reportd.model.request import Request
from reportd.partners import streaming, unpacking
from reportd.partners.extending import catalogue_files
from reportd.partners.flow import Flow
from reportd.partners.load import load_partner
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.steps import Step
from reportd.partners.verdict import Verdict
from reportd.sinks import delimited, gathering
from reportd.sinks.gathering import table_of
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer
from tests.fuzz.damage import damaged
from tests.recorded import CASES
from tests.unit.partners.making import NOW, request

DATA = Path(__file__).parents[1] / "data"
SECRET = "hunter2-token"
STEPS_SHARE = 0.3
STATUSES = (200, 200, 200, 200, 200, 201, 204, 400, 401, 403, 429, 500, 503)


class BrokenPromiseError(AssertionError):
    """Something came of an answer that nobody promised."""


@cache
def partner(name: str) -> Partner:
    """Return a recorded partner."""
    return load_partner(DATA / "partners" / "recorded" / f"{name}.toml")


@cache
def recorded() -> tuple[bytes, ...]:
    """Return all recorded answers."""
    files = sorted((DATA / "recorded").glob("*/*.*"))
    return tuple(path.read_bytes() for path in files)


@cache
def steps() -> tuple[tuple[Partner, str, Step], ...]:
    """Return every step of every report of the catalogue."""
    found = [load_partner(path) for path in catalogue_files().values()]
    return tuple(
        (one, name, step)
        for one in found
        for name, report in one.reports.items()
        for step in report.steps
    )


def trial(seed: int) -> Counter[str]:
    """Damage an answer and look what becomes of it; raises whatever should not be raised."""
    random = Random(seed)
    if random.random() < STEPS_SHARE:
        return _step_trial(random)
    return _rows_trial(random)


def _step_trial(random: Random) -> Counter[str]:
    """Judge an answer to a step of the catalogue: create, poll, read, download."""
    of, report, step = random.choice(steps())
    body = damaged(random.choice(recorded()), random, recorded())
    flow = Flow(
        of,
        request(partner=of.name, report=report),
        Auth(secrets=(SECRET,)),
        {name: "picked" for one in of.reports[report].steps for name in one.picks},
        {name: "https://x.example/" for one in of.reports[report].steps for name in one.volatile},
    )
    cursor = {"step": step.name} if step.name else {}
    verdict = _bounded(flow.judge(cursor, _answer(body, random), NOW))
    return Counter({"answers": 1, f"step {verdict.outcome}": 1})


def _rows_trial(random: Random) -> Counter[str]:
    name, report, file, first, last = random.choice(CASES)
    original = (DATA / "recorded" / name / file).read_bytes()
    if random.random() < 0.05:
        original = random.choice(recorded())
    body = damaged(original, random, recorded())
    asked = request(
        partner=name,
        report=report,
        first_day=first,
        last_day=last or first,
        attributes={"manager": "77"},
    )
    counts = Counter({"answers": 1})
    verdicts, ends = [], []
    for pieces in (False, True):
        with _in_pieces() if pieces else nullcontext():
            flow = Flow(partner(name), asked, Auth())
            verdicts.append(_bounded(flow.judge({}, _answer(body, random), NOW)))
            ends.append(_parsed(partner(name), asked, body))
    for verdict in verdicts:
        counts[f"judged {verdict.outcome}"] += 1
    whole, in_pieces = ends
    counts["rows" if isinstance(whole, list) else "refused"] += 1
    if isinstance(whole, list) and isinstance(in_pieces, list) and whole != in_pieces:
        raise BrokenPromiseError(f"other rows in pieces: {whole!r:.300} {in_pieces!r:.300}")
    if isinstance(in_pieces, list) and not isinstance(whole, list):
        raise BrokenPromiseError(f"rows in pieces alone: {in_pieces!r:.300}, {whole}")
    if isinstance(whole, list) and not isinstance(in_pieces, list):
        counts["refused in pieces alone"] += 1
    return counts


@contextmanager
def _in_pieces() -> Iterator[None]:
    """Work as if each answer were very large."""
    with (
        mock.patch.object(unpacking, "IN_MEMORY_BYTES", 50),
        mock.patch.object(streaming, "PIECE_BYTES", 200),
        mock.patch.object(delimited, "_PIECE_BYTES", 400),
        mock.patch.object(gathering, "HELD_BYTES", 1000),
    ):
        yield


def _answer(body: bytes, random: Random) -> Answer:
    return Answer(status=random.choice(STATUSES), headers={}, body=body, seconds=0.1)


def _bounded(verdict: Verdict) -> Verdict:
    """Return a verdict that people may read, and a topic may hold."""
    if len(verdict.reason) > 600 or len(verdict.sample) > 8192:
        raise BrokenPromiseError("a reason or sample without bound")
    return verdict


def _parsed(of: Partner, asked: Request, body: bytes) -> list[Any] | str:
    try:
        found = to_tables(of, asked, [body], NOW)
    except UnexpectedAnswerError as error:
        if len(str(error)) > 1000:
            raise BrokenPromiseError("a reason without bound") from error
        return str(error)
    if list(found) != asked.days():
        raise BrokenPromiseError("other days than were asked for")
    return sorted(repr(row) for rows in found.values() for row in table_of(rows).to_pylist())
