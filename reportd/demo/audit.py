"""Were the promises kept? Compares what Kafka, the files, the simulator and the truth say.

Pure but for reading files. Shared by the demo and the system tests.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from reportd.demo.books import Ledgers
from reportd.demo.files import final_files, read_values
from reportd.demo.simulator.book import Question, SeenCall
from reportd.demo.simulator.config import Partner
from reportd.demo.simulator.usage import Span, exceeded
from reportd.model.ledger import End, Step
from reportd.model.request import Request

_CLOCK_SECONDS = 0.002
"""Kafka's times are milliseconds: a call within two of them is not known to be later."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What was durable at one moment (before a restart, or a kill)."""

    at: float
    """Epoch seconds, when the list was complete: calls seen later are repeats."""
    finished: frozenset[str]
    """Ids with an end record, or with a receipt for every file."""
    pages: frozenset[tuple[str, int]]
    """Id and page of every answer with a step record."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One promise, and how it was broken."""

    promise: str
    what: str

    def __str__(self) -> str:
        """Say both."""
        return f"{self.promise}: {self.what}"


@dataclass(slots=True, kw_only=True)
class Evidence:
    """Everything that the audit looks at."""

    requests: Mapping[str, Request]
    """Every request of the topics by id."""
    ledgers: Ledgers
    dead_ids: frozenset[str]
    """The ids of the dead letters."""
    calls: Sequence[SeenCall]
    partners: Mapping[str, Partner]
    """What the simulator plays, by name: their truth, their limits, who is gone."""
    root: Path
    """The output root."""
    listings: Sequence[Listing] = ()
    late: Sequence[Span] = ()
    """Epoch seconds in which somebody who had slept woke: records that he wrote then came after
    the next owner had read the ledger, who could not know them. They do not count as durable."""
    trapped: int = 0
    """Calls that followed a redirect to another host."""
    slack_seconds: float = 0.1
    """What network and scheduling may shift between sender and meter."""
    broken: list[Broken] = field(default_factory=list)

    def is_late(self, at: float) -> bool:
        """Say whether a record may be a sleeper's."""
        return any(since <= at <= until for since, until in self.late)

    def say(self, promise: str, items: Iterable[str], most: int = 5) -> None:
        """Note what was found; the first few in words."""
        found = list(items)
        for item in found[:most]:
            self.broken.append(Broken(promise, item))
        if len(found) > most:
            self.broken.append(Broken(promise, f"... and {len(found) - most} more"))


def audit(evidence: Evidence) -> list[Broken]:
    """Return every promise that was broken; empty: all were kept."""
    evidence.say("every request ends once", _ends(evidence))
    evidence.say("nothing finished is asked again", map(_told, repeated_calls(evidence)))
    evidence.say("no limit is exceeded", _limits(evidence))
    evidence.say("only the partner's own hosts", ["a redirect was followed"] * evidence.trapped)
    evidence.say("final data is never corrupt", _files(evidence))
    return evidence.broken


def listing(
    at: float, requests: Mapping[str, Request], ledgers: Ledgers, receipted: Mapping[str, int]
) -> Listing:
    """List what is durable: ends, complete sets of receipts, steps."""
    complete = {
        name
        for name, count in receipted.items()
        if name in requests and count == len(_targets(requests[name]))
    }
    pages = {
        (name, written.record.step)
        for name, found in ledgers.steps.items()
        for written in found
        if isinstance(written.record, Step)
    }
    return Listing(at, frozenset(complete | ledgers.ends.keys()), frozenset(pages))


def repeated_calls(evidence: Evidence) -> list[SeenCall]:
    """Return the calls whose answer was durable before they came."""
    ids = {_question(request): name for name, request in evidence.requests.items()}
    ended: dict[str, float] = {}
    for name, found in evidence.ledgers.ends.items():
        for written in found:
            if not evidence.is_late(written.at):
                ended.setdefault(name, written.at)
    stepped: dict[tuple[str, int], float] = {}
    for name, found in evidence.ledgers.steps.items():
        for written in found:
            if isinstance(written.record, Step) and not evidence.is_late(written.at):
                stepped.setdefault((name, written.record.step), written.at)
    never = float("inf")

    def is_repeat(call: SeenCall) -> bool:
        name = ids.get(call.question, "")
        page = (name, call.page)
        durable = min(
            ended.get(name, never),
            stepped.get(page, never),
            *(one.at for one in evidence.listings if name in one.finished or page in one.pages),
            never,
        )
        return call.wall > durable + _CLOCK_SECONDS

    return [call for call in evidence.calls if is_repeat(call)]


def _told(call: SeenCall) -> str:
    return f"{'/'.join(call.question)} page {call.page} at {call.wall:.3f} ({call.request_id})"


def _question(request: Request) -> Question:
    days = (request.first_day.isoformat(), request.last_day.isoformat())
    return (request.partner, request.report, request.account, *days)


def _ends(evidence: Evidence) -> Iterable[str]:
    ends = evidence.ledgers.ends
    for name in evidence.requests.keys() - ends.keys():
        yield f"{name} never ended"
    for name in ends.keys() - evidence.requests.keys():
        yield f"{name} ended, but was never asked for"
    for name, found in ends.items():
        states = {one.record.state for one in found if isinstance(one.record, End)}
        if len(states) > 1:
            yield f"{name} ended as {' and as '.join(sorted(states))}"
    for name, request in evidence.requests.items():
        gone = request.account in evidence.partners[request.partner].gone_accounts
        state = _state(evidence, name)
        if state and (state == "dead") != gone:
            yield f"{name} of {request.account} ended as {state}: {_reason(evidence, name)}"
        if (state == "dead") != (name in evidence.dead_ids):
            yield f"{name} ended as {state}, but its dead letter says otherwise"


def _state(evidence: Evidence, name: str) -> str:
    found = evidence.ledgers.ends.get(name)
    return found[0].record.state if found and isinstance(found[0].record, End) else ""


def _reason(evidence: Evidence, name: str) -> str:
    record = evidence.ledgers.ends[name][0].record
    return record.reason if isinstance(record, End) else ""


def _limits(evidence: Evidence) -> Iterable[str]:
    for name, partner in evidence.partners.items():
        calls = [call for call in evidence.calls if call.partner == name]
        for limit in partner.limits:
            count = exceeded(limit, calls, evidence.slack_seconds)
            if count:
                yield f"{name}: {count} calls above {limit.calls}/{limit.seconds:g} s {limit.per}"


def _targets(request: Request) -> list[tuple[date, str]]:
    return [(day, one) for day in request.days() for one in request.formats]


def _files(evidence: Evidence) -> Iterable[str]:
    """Compare every final file with the truth: none missing, none too many, every row right."""
    published: dict[str, tuple[str, date]] = {}
    for name, request in evidence.requests.items():
        found = evidence.ledgers.ends.get(name)
        record = found[0].record if found else None
        if not isinstance(record, End) or record.state != "result":
            continue
        listed = Counter((file.day, file.format) for file in record.files)
        wanted = Counter((day.isoformat(), one) for day, one in _targets(request))
        if listed != wanted:
            yield f"{name}: its result names {sum(listed.values())} files, not the days asked for"
        for file in record.files:
            if file.path in published:
                yield f"{file.path}: published by two requests"
            published[file.path] = (name, date.fromisoformat(file.day))
            yield from _compare(evidence, request, file.path, date.fromisoformat(file.day))
    for path in set(final_files(evidence.root)) - published.keys():
        yield f"{path}: nobody's file"


def _compare(evidence: Evidence, request: Request, path: str, day: date) -> Iterable[str]:
    file = evidence.root / path
    if not file.is_file():
        yield f"{path}: missing"
        return
    try:
        got = read_values(file)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it cannot be read
        yield f"{path}: cannot be read: {type(error).__name__}: {error}"
        return
    truth = evidence.partners[request.partner].truth
    want = truth.values(request.partner, request.report, request.account, day)
    if got != want:
        yield f"{path}: {len(got)} rows, {_difference(Counter(got), Counter(want))}"


def _difference(got: Counter[object], want: Counter[object]) -> str:
    doubled = sum(count - 1 for row, count in got.items() if row in want and count > 1)
    missing, foreign = (want - got).total(), sum(1 for row in got if row not in want)
    if not (doubled or missing or foreign):
        return "in another order"
    return f"{missing} missing, {doubled} doubled, {foreign} not the partner's"
