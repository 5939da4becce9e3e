"""A partner that makes reports: create, poll, read; its reports take time, fail, expire, are big.

The real `Flow` renders its calls and judges its answers.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import orjson
import pyarrow as pa

from reportd.errors import InvalidMessageError
from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner as Compiled
from reportd.partners.verdict import Outcome, Verdict
from reportd.partners.way import StaleCursorError
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer, Call
from reportd.worker.entry import Entry
from tests.simulation.partner import Partner, PartnerPlan, Sent, days_table
from tests.simulation.world import World

Kind = Literal["url", "pages", "shards"]
KINDS: tuple[Kind, ...] = ("url", "pages", "shards")
SHARDS = 2
FILES = "https://a.files.example"
URL_SECONDS = (1.0, 15.0)
"""How long a picked URL works, at least and at most."""

_FILE = """
hosts = ["api.crux.example"]
too_big = [{ status = 400, text = "too big" }]
[reports.daily]
day_column = "day"
columns = { day = "date" }
rows = "rows"
[[reports.daily.steps]]
name = "create"
post = "https://api.crux.example/{{ account.id }}/reports"
json = { from = "{{ from }}", to = "{{ to }}", request = "{{ request.id }}" }
pick = { report = "id" }
adopt = [{ status = 425, pick = { report = "text:duplicate of ([a-z0-9]+)" } }]
[[reports.daily.steps]]
name = "poll"
get = "https://api.crux.example/reports/{{ picked.report }}"
%s
[reports.daily.steps.poll]
done = "state == 'done'"
failed = "state == 'failed'"
expired = "state == 'expired'"
first_seconds = 1.0
factor = 1.2
most_seconds = 4.0
total_seconds = 300.0
[[reports.daily.steps]]
name = "read"
%s
"""
_PAGES = 'next = { page = 1, query = "page", more = "more" }'
_READ: Mapping[Kind, tuple[str, str]] = {
    "url": ('pick = { url = "url" }', 'get = "{{ picked.url }}"\nhosts = ["*.files.example"]'),
    "pages": ("", f'get = "https://api.crux.example/rows/{{{{ picked.report }}}}"\n{_PAGES}'),
    "shards": (
        'pick = { shards = "shards" }',
        'get = "https://api.crux.example/rows/{{ picked.report }}?shard={{ item }}"\n'
        f'each = "picked.shards"\n{_PAGES}',
    ),
}


@lru_cache
def compiled(kind: Kind) -> Compiled:
    """Return the partner file of a kind."""
    return Compiled("crux", parse_spec(tomllib.loads(_FILE % _READ[kind]), kind))


@dataclass
class Made:
    """A report at the partner."""

    name: str
    request: str
    first: date
    last: date
    ready_at: float
    ends: str
    """``done``, ``failed``, ``expired``."""
    big: bool
    """Its second page turns out to be too much."""


@dataclass
class MakingPartner(Partner):
    """Knows its reports, and why it let a request start over."""

    kind: Kind = "pages"
    reports: dict[str, Made] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    """How often it told a request that its report came to nothing."""

    def begin(self, entry: Entry, worker: str, at: float) -> Callable[[], tuple[Verdict, bytes]]:
        """Take note of a call; return what answers it once it has arrived."""
        flow = Flow(compiled(self.kind), entry.request, Auth(), entry.picked, entry.volatile)
        cursor = entry.cursor
        try:
            call = flow.call(cursor)
        except StaleCursorError as error:
            stale = Verdict(outcome=Outcome.FAILED, reason=str(error))
            return lambda: (stale, b"")
        except InvalidMessageError as error:
            invalid = Verdict(outcome=Outcome.PERMANENT, reason=str(error))
            return lambda: (invalid, b"")
        number = len(entry.steps) + 1
        report = urlsplit(call.url).path.rpartition("/")[2] if call.method == "GET" else ""
        self.calls.append(
            Sent(at, worker, entry.request, entry.replay, number, entry.generation, report)
        )

        def arrive() -> tuple[Verdict, bytes]:
            status, document = self._answered(entry.request, call)
            body = orjson.dumps(document)
            answer = Answer(status=status, headers={}, body=body, seconds=0.0)
            verdict = flow.judge(cursor, answer, self.world.now().wall)
            return verdict, b"" if verdict.empty else body

        return arrive

    def _answered(self, request: Request, call: Call) -> tuple[int, Any]:
        outcome, reason = self.answer(request, 1)
        if outcome is not Outcome.OK:
            return 503, {"error": reason}
        parts = urlsplit(call.url)
        name = parts.path.rpartition("/")[2]
        if call.method == "POST":
            return self._created(request, call)
        made = self.reports.get(name)
        if made is None:
            return 404, {"error": "no such report"}
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if call.url.startswith(FILES):
            if self.world.time > float(query["until"]):
                return 403, {"error": "expired"}
            return 200, self._rows(made, 0)
        if parts.path.startswith("/reports/"):
            return 200, self._state(made)
        page = int(query["page"])
        if made.big and page > 1:
            return 400, {"error": "too big"}
        pages = self.plan.pages // (SHARDS if self.kind == "shards" else 1)
        rows = self._rows(made, int(query.get("shard", 0)) * pages + page - 1)
        return 200, {**rows, "more": page < pages}

    def _created(self, request: Request, call: Call) -> tuple[int, Any]:
        asked = orjson.loads(call.body or b"{}")
        first, last = date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])
        days = (last - first).days + 1
        random, plan = self.world.random, self.plan
        if days > plan.most_days:
            return 400, {"error": "too big"}
        for made in self.reports.values():
            same = (made.request, made.first, made.last) == (request.id, first, last)
            if same and made.ends == "done" and not made.big:
                return 425, {"error": f"duplicate of {made.name}"}
        name = f"r{len(self.reports)}"
        self.reports[name] = Made(
            name=name,
            request=request.id,
            first=first,
            last=last,
            ready_at=self.world.time + random.uniform(0.0, plan.making_seconds),
            ends=random.choices(("done", "failed", "expired"), (12, 1, 1))[0],
            big=days > 1 and self.plan.pages > 2 and random.random() < 0.2,
        )
        return 202, {"id": name}

    def _state(self, made: Made) -> dict[str, Any]:
        if self.world.time < made.ready_at:
            return {"state": "working"}
        if made.ends != "done":
            self.reasons[made.request] += 1
            return {"state": made.ends}
        until = self.world.time + self.world.random.uniform(*URL_SECONDS)
        url = f"{FILES}/{made.name}?until={until}"
        return {"state": "done", "url": url, "shards": [str(n) for n in range(SHARDS)]}

    def _rows(self, made: Made, page: int) -> dict[str, Any]:
        days = (made.last - made.first).days + 1
        return {
            "rows": [
                {"day": str(made.first + timedelta(days=n)), "page": page} for n in range(days)
            ]
        }

    def tables(self, request: Request, bodies: list[bytes]) -> dict[date, pa.Table] | None:
        """Return what the answers come to."""
        pages: dict[date, list[int]] = {day: [] for day in request.days()}
        for row in [row for body in bodies for row in orjson.loads(body)["rows"]]:
            pages[date.fromisoformat(row["day"])].append(row["page"])
        return {day: days_table(request.account, day, found) for day, found in pages.items()}


def making_plan(kind: Kind, base: PartnerPlan) -> PartnerPlan:
    """Return the plan of such a partner."""
    pages = {"url": 1, "pages": 3, "shards": 2 * SHARDS}[kind]
    return PartnerPlan(
        name="crux",
        partitions=2,
        limits=base.limits,
        strict=base.strict,
        key=base.key,
        pages=pages,
        transient_share=base.transient_share / 2,
        slow_share=base.slow_share,
        outages=base.outages,
        kind=kind,
        most_days=base.most_days,
        making_seconds=base.making_seconds,
    )


def make_partner(plan: PartnerPlan, world: World) -> Partner:
    """Return a partner as its plan says."""
    if plan.kind:
        return MakingPartner(plan, world, kind=plan.kind)  # type: ignore[arg-type]
    return Partner(plan, world)
