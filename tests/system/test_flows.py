"""kill -9 at every step of reports of many steps: nothing durable is asked again.

Create sent, create answered, step recorded, poll, page, spool, file published: each is the point at
which a whole daemon dies, once; then another one goes on.
"""

from collections.abc import Iterator
from dataclasses import replace
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
POINTS = (
    Point("made", "create", "asked"),
    Point("made", "create", "answered"),
    Point("made", "poll", "asked"),  # the create is recorded
    Point("made", "poll", "answered"),
    Point("made", "page-1", "answered"),
    Point("made", "page-1", "spooled"),
    Point("made", "page-2", "asked"),  # page 1 is recorded
    Point("made", "page-3", "answered"),
    Point("made", "page-3", "published"),
    Point("filed", "done", "answered"),
    Point("filed", "file", "asked"),
    Point("filed", "file", "answered"),
    Point("filed", "file", "published"),
    Point("listed", "list", "answered"),
    Point("listed", "page-1", "asked"),
    Point("listed", "page-2", "spooled"),
    Point("listed", "page-4", "asked"),
)
ROWS = {"made": PAGES, "filed": 1, "listed": len(ITEMS) * ITEM_PAGES}
MAY_REPEAT = {"asked", "answered", "spooled"}
"""A call whose answer was not durable when somebody died."""


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
    text += CREATE.replace("NAME", "made").replace("PICK", "") + MADE
    text += CREATE.replace("NAME", "filed").replace("PICK", 'pick = { url = "url" }') + FILED
    text += LISTED
    text = text.replace("PORT", str(partner.port)).replace("FILES", partner.files)
    scene = quick_scene()
    role = replace(scene.roles[0], days=1, secrets=(("acme-north", SECRET),))
    made = make_a_stage(replace(scene, roles=(role,)), lambda _name, _text: text)
    place.append(made.place.output)
    return made


def kill_at(stage: Stage, vm: Vm, partner: MakingPartner, point: Point) -> str:
    """Ask for the point's report, kill the daemon there, start another; return the request's id."""
    partner.points[point.account] = point
    partner.killed.clear()
    (worker,) = vm.daemon.workers()
    partner.kill = lambda: vm.daemon.kill_child(worker)
    role = replace(stage.scene.roles[0], report=point.report, formats=("parquet",), days=1)
    account = DemoAccount("acme", point.account, "UTC", "EUR", "north", gone=False)
    asked = stage.ask(account, role, 0)
    stage.confirm()
    assert partner.killed.wait(60), f"{point} was not reached:\n{vm.said()[-3000:]}"
    vm.daemon.kill_all()
    stage.start(vm)
    until(lambda: asked.id in stage.follow().ends, f"the end after {point}")
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


@pytest.mark.timeout(400)
def test_kill_at_every_step(stage: Stage, partner: MakingPartner) -> None:
    """Whatever the moment: one create, no page twice, the rows as they are, and no URL kept."""
    vm = stage.start(stage.vm("vm-a", processes=1))
    found = []
    for point in POINTS:
        name = kill_at(stage, vm, partner, point)
        found += problems(stage, partner, point, name)
    stopped(vm)

    assert found == []
    assert [name for name, token in partner.authorized if (name == "file") == bool(token)] == []
    written = b"".join(message.value for message in ledger(stage))
    assert SIGNATURE.encode() not in written
    assert b"picked" in written
    kept = [path for path in stage.place.root.rglob("*") if path.is_file()]
    assert [path for path in kept if SIGNATURE.encode() in path.read_bytes()] == []
