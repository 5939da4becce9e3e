"""kill -9 at every step of reports of many steps: nothing durable is asked again.

Create sent, create answered, step recorded, poll, page, spool, files staged, file published: at
each of them a whole daemon dies, once; then another one goes on, on the same VM or another.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reportd.broker.message import Message
from reportd.demo.scene import DemoAccount
from reportd.model.ledger import End
from tests.system.conftest import MakeStage
from tests.system.making_partner import ITEM_PAGES, ITEMS, PAGES, SIGNATURE, MakingPartner, Point
from tests.system.stage import Stage, Vm, quick_scene, stopped, until

pytestmark = pytest.mark.long

SECRET = "swordfish-of-the-house"
PARTNER = """\
hosts = ["127.0.0.1:PORT"]
allow_private = true
auth = { bearer = { secret = "acme-{{ account.credential }}" } }
partitions = 1
retry = { attempts = 5, base_seconds = 0.05, max_seconds = 0.5 }
"""
SINGLE = """
[reports.single]
rows = "rows"
columns = { number = "int64" }
get = "http://127.0.0.1:PORT/rows/{{ account.id }}?page=1"
"""
PAGED = """
[reports.paged]
rows = "rows"
columns = { number = "int64" }
get = "http://127.0.0.1:PORT/rows/{{ account.id }}"
next = { page = 1, query = "page", more = "more" }
"""
CREATE = """
[reports.NAME]
rows = "rows"
columns = { number = "int64" }
[[reports.NAME.steps]]
name = "create"
post = "http://127.0.0.1:PORT/create/{{ account.id }}"
json = { from = "{{ from }}" }
pick = { report = "id" }
adopt = [{ status = 425, pick = { report = "text:duplicate of <([^>]+)>" } }]
[[reports.NAME.steps]]
name = "poll"
get = "http://127.0.0.1:PORT/poll/{{ picked.report }}"
PICK
poll = { done = "state == 'done'", first_seconds = 0.2, factor = 1, jitter = 0 }
"""
FILED = """
[[reports.filed.steps]]
name = "download"
get = "{{ picked.url }}"
hosts = ["FILES"]
"""
MADE = """
[[reports.made.steps]]
name = "read"
get = "http://127.0.0.1:PORT/rows/{{ picked.report }}"
next = { page = 1, query = "page", more = "more" }
"""
LISTED = """
[reports.listed]
rows = "rows"
columns = { number = "int64" }
[[reports.listed.steps]]
name = "list"
get = "http://127.0.0.1:PORT/list/{{ account.id }}"
pick = { ids = "ids" }
[[reports.listed.steps]]
name = "read"
get = "http://127.0.0.1:PORT/items/{{ account.id }}?item={{ item }}"
each = "picked.ids"
next = { page = 1, query = "page", more = "more" }
"""
PAGE_NAMES = tuple(f"page-{number + 1}" for number in range(PAGES))
ITEM_NAMES = tuple(f"page-{number + 1}" for number in range(len(ITEMS) * ITEM_PAGES))
FLOWS: Mapping[str, tuple[str, ...]] = {
    "single": PAGE_NAMES[:1],
    "paged": PAGE_NAMES,
    "made": ("create", "poll", "done", *PAGE_NAMES),
    "filed": ("create", "poll", "done", "file"),
    "listed": ("list", *ITEM_NAMES),
}
"""The calls of every kind of flow, in their order."""
ROWS = {"single": 1, "paged": PAGES, "made": PAGES, "filed": 1, "listed": len(ITEM_NAMES)}
POINTS = (
    Point("single", "page-1", "asked"),
    Point("single", "page-1", "staged"),
    Point("paged", "page-1", "spooled"),
    Point("paged", "page-3", "asked"),  # page 2 is recorded
    Point("made", "create", "asked"),
    Point("made", "create", "answered"),
    Point("made", "poll", "asked"),  # the create is recorded
    Point("made", "page-2", "asked"),
    Point("made", "page-3", "published"),
    Point("filed", "done", "answered"),
    Point("filed", "file", "asked"),
    Point("listed", "page-1", "asked"),
    Point("listed", "page-2", "spooled"),
)
"""What CI has time for; `make soak` takes every point of every flow, here and on another VM."""
MOVES = (Point("made", "page-3", "asked"), Point("filed", "poll", "answered"))
WAIT_SECONDS = 180.0
"""For what takes three: a machine that is far too busy let a minute pass."""
MAY_REPEAT = {"asked", "answered", "spooled", "staged"}
"""A call whose answer was not durable when somebody died."""


def every_point(report: str) -> Iterator[Point]:
    """Yield all moments of a flow: its calls, their answers, what is written of them.

    That a step's record is confirmed shows in the next call: where that is asked, it is.
    """
    calls = FLOWS[report]
    for call in calls:
        yield Point(report, call, "asked")
        yield Point(report, call, "answered")
        if call in calls[:-1] and call.startswith("page"):
            yield Point(report, call, "spooled")
    yield Point(report, calls[-1], "staged")
    yield Point(report, calls[-1], "published")


@pytest.fixture
def place() -> list[Path]:
    """Give room for the output's folder, which is known later than the partner."""
    return []


@pytest.fixture
def partner(place: list[Path]) -> Iterator[MakingPartner]:
    """Give the partner."""
    made = MakingPartner(lambda: place[0])
    yield made
    made.close()


@pytest.fixture
def stage(make_a_stage: MakeStage, partner: MakingPartner, place: list[Path]) -> Stage:
    """Give a stage with that partner as acme."""
    text = PARTNER
    text += SINGLE + PAGED
    text += CREATE.replace("NAME", "made").replace("PICK", "") + MADE
    text += CREATE.replace("NAME", "filed").replace("PICK", 'pick = { url = "url" }') + FILED
    text += LISTED
    text = text.replace("PORT", str(partner.port)).replace("FILES", partner.files)
    scene = quick_scene()
    role = replace(scene.roles[0], days=1, secrets=(("acme-north", SECRET),))
    made = make_a_stage(replace(scene, roles=(role,)), lambda _name, _text: text)
    place.append(made.place.output)
    return made


def kill_at(stage: Stage, vm: Vm, after: Vm, partner: MakingPartner, point: Point) -> str:
    """Ask for the point's report, kill the daemon there, start another; return the request's id."""
    partner.points[point.account] = point
    partner.killed.clear()
    partner.kill = vm.daemon.kill_all
    role = replace(stage.scene.roles[0], report=point.report, formats=("parquet",), days=1)
    account = DemoAccount("acme", point.account, "UTC", "EUR", "north", gone=False)
    asked = stage.ask(account, role, 0)
    stage.confirm()
    assert partner.killed.wait(WAIT_SECONDS), f"{point} was not reached:\n{vm.said()[-3000:]}"
    until(lambda: not partner.connections, "its connections to end")
    partner.dying.clear()
    stage.start(after)
    until(lambda: asked.id in stage.follow().ends, f"the end after {point}", WAIT_SECONDS)
    return asked.id


def problems(stage: Stage, partner: MakingPartner, point: Point, name: str) -> list[str]:
    """Return what is wrong after a kill."""
    found = []
    end = stage.ledgers.ends[name][0].record
    if not isinstance(end, End) or end.state != "result":
        return [f"{point}: {end}"]
    (file,) = end.files
    numbers = pq.ParquetFile(stage.place.output / file.path).read().column("number").to_pylist()
    if numbers != list(range(1, ROWS[point.report] + 1)):
        found.append(f"{point}: rows {numbers}")
    for call in {call for account, call in partner.calls if account == point.account}:
        most = 2 if call == point.call and point.when in MAY_REPEAT else 1
        if call not in ("poll", "done") and partner.times(point.account, call) > most:
            found.append(f"{point}: {call} {partner.times(point.account, call)} times")
    return found


def ledger(stage: Stage) -> list[Message]:
    """Return every record of the ledger."""
    return list(stage.reader.read_all(stage.topics.ledger("acme")))


def played(stage: Stage, partner: MakingPartner, points: Iterable[Point], *names: str) -> list[str]:
    """Kill at every point on one VM after the other; return what is wrong."""
    vms = cycle([stage.vm(name, processes=1) for name in names])
    vm = stage.start(next(vms))
    found = []
    for point in points:
        after = next(vms)
        name = kill_at(stage, vm, after, partner, point)
        found += problems(stage, partner, point, name)
        vm = after
    stopped(vm)
    return found


@pytest.mark.timeout(900)
def test_kill_at_every_step(stage: Stage, partner: MakingPartner) -> None:
    """Whatever the moment: one create, no page twice, the rows as they are, and no URL kept."""
    assert played(stage, partner, POINTS, "vm-a") == []

    assert [name for name, token in partner.authorized if (name == "file") == bool(token)] == []
    written = b"".join(message.value for message in ledger(stage))
    assert SIGNATURE.encode() not in written
    assert b"picked" in written
    kept = [path for path in stage.place.root.rglob("*") if path.is_file()]
    assert [path for path in kept if SIGNATURE.encode() in path.read_bytes()] == []


@pytest.mark.timeout(400)
def test_another_vm_goes_on(stage: Stage, partner: MakingPartner) -> None:
    """At the page after the last one that was stored, and with the poll of what was created."""
    assert played(stage, partner, MOVES, "vm-a", "vm-b") == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("names", [("vm-a",), ("vm-a", "vm-b")], ids=["here", "moving"])
@pytest.mark.parametrize("report", FLOWS)
def test_kill_at_every_step_of_every_flow(
    stage: Stage, partner: MakingPartner, report: str, names: tuple[str, ...]
) -> None:
    """The whole promise: every moment of each kind of flow, gone on with here and elsewhere."""
    assert played(stage, partner, every_point(report), *names) == []
