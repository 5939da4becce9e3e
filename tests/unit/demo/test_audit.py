"""The audit finds every way to break a promise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from reportd.broker.message import Message
from reportd.demo.audit import Evidence, audit, listing
from reportd.demo.books import Ledgers
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Limit, Partner
from reportd.demo.simulator.usage import exceeded
from reportd.demo.truth import Truth
from reportd.model.ledger import End, PublishedFile, Step
from reportd.model.request import Request

ACME = Partner(
    name="acme",
    limits=(Limit(per="account", calls=2, meter="sliding"),),
    truth=Truth(empty_share=0.0),
    gone_accounts=("9",),
)


def asked(account: str) -> Request:
    said = {
        "v": 1,
        "run": "daily/2026-01-03T04:00Z#1",
        "partner": "acme",
        "report": "ads",
        "account": account,
        "first_day": "2026-01-01",
        "last_day": "2026-01-02",
        "formats": ["jsonl"],
    }
    return Request.from_json(orjson.dumps(said))


ONE, TWO, GONE = asked("1"), asked("2"), asked("9")


def call_for(request: Request, at: float, page: int = 1, fault: str = "") -> SeenCall:
    return SeenCall(
        number=0,
        at=at,
        wall=at,
        partner="acme",
        report="ads",
        account=request.account,
        first_day="2026-01-01",
        last_day="2026-01-02",
        page=page,
        fault=fault,
    )


def message(record: End | Step, at: float) -> Message:
    return Message("x.ledger.acme", 0, 0, None, record.to_json(), (), at)


def end(request: Request, state: str, files: tuple[PublishedFile, ...] = ()) -> End:
    return End(id=request.id, topic="x", offset=0, state=state, files=files)  # type: ignore[arg-type]


def publish(root: Path, request: Request) -> tuple[PublishedFile, ...]:
    files = []
    for day in request.days():
        path = f"acme/ads/date={day}/{request.account}.jsonl"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        names = ("date", "campaign_id", "name", "impressions", "clicks", "cost", "ctr")
        rows = ACME.truth.values("acme", "ads", request.account, day)
        lines = [
            orjson.dumps({**dict(zip(names, row, strict=True)), "cost": str(row[5])})
            for row in rows
        ]
        (root / path).write_bytes(b"".join(line + b"\n" for line in lines))
        files.append(
            PublishedFile(
                path=path, day=str(day), format="jsonl", rows=len(rows), bytes=1, checksum="x"
            )
        )
    return tuple(files)


@pytest.fixture
def good(tmp_path: Path) -> Evidence:
    ledgers = Ledgers()
    for request in (ONE, TWO):
        ledgers.add("acme", message(end(request, "result", publish(tmp_path, request)), 10.0))
    ledgers.add("acme", message(end(GONE, "dead"), 10.0))
    return Evidence(
        requests={request.id: request for request in (ONE, TWO, GONE)},
        ledgers=ledgers,
        dead_ids=frozenset({GONE.id}),
        calls=[call_for(ONE, 1.0), call_for(TWO, 1.1), call_for(GONE, 1.2, fault="gone")],
        partners={"acme": ACME},
        root=tmp_path,
    )


def test_a_sleepers_records_do_not_count(good: Evidence) -> None:
    """What a woken sleeper writes comes too late for the next owner to know: no repeat."""
    asked_after_its_end(good)
    good.late = [(9.5, 10.5)]

    assert "nothing finished is asked again" not in {one.promise for one in audit(good)}


def test_kept_promises_are_no_complaint(good: Evidence) -> None:
    """Where everything is as it should be the audit says nothing."""
    assert audit(good) == []


def never_ended(evidence: Evidence) -> None:
    del evidence.ledgers.ends[ONE.id]


def ended_twice(evidence: Evidence) -> None:
    evidence.ledgers.add("acme", message(end(ONE, "dead"), 11.0))


def given_up_on(evidence: Evidence) -> None:
    del evidence.ledgers.ends[TWO.id]
    evidence.ledgers.add("acme", message(end(TWO, "dead"), 10.0))
    evidence.dead_ids |= {TWO.id}
    for path in evidence.root.rglob("2.jsonl"):
        path.unlink()


def no_dead_letter(evidence: Evidence) -> None:
    evidence.dead_ids = frozenset()


def asked_after_its_end(evidence: Evidence) -> None:
    evidence.calls = [*evidence.calls, call_for(ONE, 10.1)]


def asked_after_its_receipts(evidence: Evidence) -> None:
    listed = listing(5.0, evidence.requests, Ledgers(), {ONE.id: 2, TWO.id: 1})
    evidence.listings = [listed]
    evidence.calls = [*evidence.calls, call_for(TWO, 6.0), call_for(ONE, 6.0)]


def page_asked_after_its_step(evidence: Evidence) -> None:
    step = Step(
        id=ONE.id, topic="x", offset=0, attempt=0, step=1, cursor={}, file="", bytes=0, checksum=""
    )
    evidence.ledgers.add("acme", message(step, 2.0))
    evidence.calls = [*evidence.calls, call_for(ONE, 3.0, page=2), call_for(ONE, 3.5)]


def limit_exceeded(evidence: Evidence) -> None:
    evidence.calls = [*evidence.calls, call_for(ONE, 1.3), call_for(ONE, 1.6, fault="limit")]


def redirect_followed(evidence: Evidence) -> None:
    evidence.trapped = 1


def file_missing(evidence: Evidence) -> None:
    next(evidence.root.rglob("1.jsonl")).unlink()


def change(evidence: Evidence, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    path = next(evidence.root.rglob("1.jsonl"))
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))


def row_missing(evidence: Evidence) -> None:
    change(evidence, lambda lines: lines[1:])


def row_doubled(evidence: Evidence) -> None:
    change(evidence, lambda lines: [*lines, lines[0]])


def row_wrong(evidence: Evidence) -> None:
    change(evidence, lambda lines: [lines[0].replace(b'"impressions":', b'"impressions":9')])


def file_torn(evidence: Evidence) -> None:
    change(evidence, lambda lines: [lines[0][:20]])


def file_of_nobody(evidence: Evidence) -> None:
    (evidence.root / "acme/ads/part.tmp").write_bytes(b"")


def day_left_out(evidence: Evidence) -> None:
    written = evidence.ledgers.ends[ONE.id][0]
    assert isinstance(written.record, End)
    record = written.record.model_copy(update={"files": written.record.files[:1]})
    evidence.ledgers.ends[ONE.id] = [replace(written, record=record)]
    (evidence.root / "acme/ads/date=2026-01-02/1.jsonl").unlink()


@pytest.mark.parametrize(
    ("breaking", "promise", "said"),
    [
        (never_ended, "ends once", "never ended"),
        (ended_twice, "ends once", "as dead and as result"),
        (given_up_on, "ends once", "ended as dead"),
        (no_dead_letter, "ends once", "dead letter"),
        (asked_after_its_end, "asked again", "acme/ads/1"),
        (asked_after_its_receipts, "asked again", "acme/ads/1"),
        (page_asked_after_its_step, "asked again", "page 1 at 3.5"),
        (limit_exceeded, "limit", "calls above 2/1 s account"),
        (redirect_followed, "hosts", "redirect"),
        (file_missing, "corrupt", "missing"),
        (row_missing, "corrupt", "1 missing, 0 doubled"),
        (row_doubled, "corrupt", "0 missing, 1 doubled"),
        (row_wrong, "corrupt", "1 not the partner's"),
        (file_torn, "corrupt", "cannot be read"),
        (file_of_nobody, "corrupt", "nobody's file"),
        (day_left_out, "corrupt", "not the days asked for"),
    ],
)
def test_a_broken_promise_is_found(
    good: Evidence, breaking: Callable[[Evidence], None], promise: str, said: str
) -> None:
    """Each way to break a promise is told, under that promise."""
    breaking(good)
    found = [one for one in audit(good) if promise in one.promise]
    assert any(said in one.what for one in found), audit(good)


def test_half_published_files_are_not_finished(good: Evidence) -> None:
    """Receipts for one of two files: the answer as a whole was not durable."""
    listed = listing(5.0, good.requests, Ledgers(), {ONE.id: 2, TWO.id: 1})
    assert listed.finished == {ONE.id}


@pytest.mark.parametrize("meter", ["bucket", "fixed", "sliding"])
def test_what_the_network_shifts_is_no_exceeding(meter: str) -> None:
    """Calls that arrive a little closer than they were sent are fine; more calls are not."""
    limit = Limit(per="account", calls=5, meter=meter, burst=1 if meter == "bucket" else None)  # type: ignore[arg-type]
    sent = [number / 5 + 0.001 for number in range(50)]
    late = [
        call_for(ONE, at + (0.08 if number % 7 == 4 else 0.0)) for number, at in enumerate(sent)
    ]
    assert exceeded(limit, late, 0.1) == 0
    double = sorted([*sent, *(at + 0.05 for at in sent)])
    assert exceeded(limit, [call_for(ONE, at) for at in double], 0.1) >= 10


def test_windows_used_twice_are_exceeded_however_early() -> None:
    """All of a window's calls may come at its start, where those of one before may still arrive."""
    limit = Limit(per="account", calls=5, seconds=2, meter="fixed")
    at_once = [call_for(ONE, w * 2 + number / 100) for w in range(6) for number in range(5)]
    twice = [call for call in at_once for _ in range(2)]

    assert exceeded(limit, at_once, 1.0) == 0
    assert exceeded(limit, twice, 1.0) == 6 * 5 - 5
