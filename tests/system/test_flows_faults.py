"""Reports of many steps under faults and kills: the simulator makes them, the audit judges.

A page of the simulator's book is the step record that makes an answer durable: 1 a create, 2 a
poll, from 3 on pages.
"""

from dataclasses import replace

import pytest

from reportd.demo.scene import Role, Scene, demo_scene
from reportd.demo.simulator.config import Faults, Latency, Limit
from tests.system.conftest import MakeStage
from tests.system.stage import Stage, accounts_of, pause, stopped, until

pytestmark = pytest.mark.long

ACCOUNTS = 6
ASKS = 4
KILLS = 3
STEPS_LEAST = 8
"""So many answers become durable between two kills."""

PARTNER = """\
hosts = ["127.0.0.1:PORT"]
allow_private = true
auth = { bearer = { secret = "NAME-team" } }
partitions = 2
limits = [{ per = "account", calls = 20, seconds = 1, meter = "bucket", burst = 20 }]
retry = { attempts = 8, base_seconds = 0.1, max_seconds = 1, hold_seconds = 0.5 }

[reports.spend]
rows = "data[]"
day_column = "date"
headers = { X-Request-Id = "{{ request.id }}" }
[reports.spend.columns]
date = "date"
account = { request = "account" }
campaign_id = "string"
name = "string"
impressions = "int64"
clicks = "int64"
cost = { from = "cost_micros", type = "decimal(18,6)", divide = 1_000_000 }
ctr = "float64"

[[reports.spend.steps]]
name = "create"
post = "http://127.0.0.1:PORT/NAME/spend/create"
json = { account = "{{ account.id }}", from = "{{ from }}", to = "{{ to }}" }
pick = { report = "id" }
adopt = [{ status = 425, pick = { report = "text:duplicate of <([^>]+)>" } }]
[[reports.spend.steps]]
name = "poll"
get = "http://127.0.0.1:PORT/NAME/spend/poll/{{ picked.report }}"
PICK
poll = { done = "state == 'done'", first_seconds = 0.3, factor = 1 }
[[reports.spend.steps]]
name = "read"
"""
READ = {
    "pages": (
        "",
        'get = "http://127.0.0.1:PORT/NAME/spend/rows/{{ picked.report }}"\n'
        'next = { page = 1, query = "page", pages = "pages" }\n',
    ),
    "file": ('pick = { url = "url" }', 'get = "{{ picked.url }}"\nhosts = ["127.0.0.2:PORT"]\n'),
}
MAKES = {"bolt": "file", "crux": "pages"}


def making_scene() -> Scene:
    """Return two partners that make reports, one read by pages, one as a file."""
    return Scene(tuple(_role(role) for role in demo_scene().roles if role.partner.name in MAKES))


def _role(role: Role) -> Role:
    name = role.partner.name
    partner = replace(
        role.partner,
        limits=(Limit(per="account", calls=40, burst=40),),
        slow_down="429-retry-after",
        format="json",
        gzip="none",
        paging="number" if MAKES[name] == "pages" else "none",
        page_rows=5,
        makes=MAKES[name],  # type: ignore[arg-type]
        making_seconds=1.0,
        url_seconds=3.0,
        gone_accounts=(),
        headers={"authorization": f"Bearer key-of-{name}"},
        latency=Latency(median_seconds=0.05, sigma=0.5, slow_share=0.05, slow_seconds=1.0),
        faults=Faults(error=0.05, reset=0.03, truncated=0.02, cut=0.02, html=0.02, throttle=0.01),
    )
    return replace(
        role,
        partner=partner,
        report="spend",
        accounts=ACCOUNTS,
        days=2,
        formats=("parquet",),
        secrets=((f"{name}-team", f"key-of-{name}"),),
    )


@pytest.fixture
def stage(make_a_stage: MakeStage) -> Stage:
    """Give a stage with these partners."""

    def edit(name: str, text: str) -> str:
        """Keep of the demo's file its port alone."""
        port = text.partition("127.0.0.1:")[2].partition('"')[0]
        pick, read = READ[MAKES[name]]
        made = (PARTNER + read).replace("PICK", pick)
        return made.replace("NAME", name).replace("PORT", port)

    return make_a_stage(making_scene(), edit)


def durable(stage: Stage) -> int:
    """Return how many records the ledgers hold."""
    found = stage.follow()
    return len(found.ends) + sum(len(steps) for steps in found.steps.values())


@pytest.mark.timeout(300)
def test_made_reports_come_right_whatever_happens(stage: Stage) -> None:
    """Faults of all kinds, three dead daemons: nothing durable is asked again, rows are right."""
    for number in range(ASKS):
        for account, role in accounts_of(stage.scene):
            stage.ask(account, role, number)
    stage.confirm()
    vm = stage.start(stage.vm("vm-a", processes=2))
    for _ in range(KILLS):
        before = durable(stage)
        until(lambda least=before + STEPS_LEAST: durable(stage) >= least, "some steps")  # type: ignore[misc]
        pause(0.2)
        vm.daemon.kill_all()
        stage.list_durable()
        stage.start(vm)
    until(stage.all_ended, "every request to end", 120)
    stopped(vm)

    assert not stage.broken()
    statuses = {call.status for call in stage.simulator.calls()}
    assert {202, 200} <= statuses
    assert 401 not in statuses
