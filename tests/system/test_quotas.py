"""Quotas of a day in real daemons: counted across workers, VMs, restarts; spent is no failure."""

import json
import re
import time
from collections import Counter
from dataclasses import replace

import pytest

from reportd.cli import reportctl
from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.config import Faults, Latency
from reportd.demo.truth import Truth
from reportd.model.ledger import End
from tests.system.conftest import MakeStage
from tests.system.stage import Stage, Vm, accounts_of, stopped, until
from tests.system.test_controls import shown

QUOTA = 30
ASKED = 40
"""Requests of each account: more than its quota."""
ACCOUNTS = 4
LOST_MOST = 3
"""A worker's death, a VM's and a stop each lose one grant of one call at most."""


def quotas_scene() -> Scene:
    """Return two partners: one limited by the calendar's day, one by any 24 hours."""
    roles = {role.partner.name: role for role in demo_scene().roles}
    return Scene(
        tuple(
            replace(
                role,
                accounts=ACCOUNTS,
                days=1,
                formats=("parquet",),
                partner=replace(
                    role.partner,
                    limits=(),
                    faults=Faults(),
                    latency=Latency(median_seconds=0.1),
                    page_rows=1000,
                    truth=Truth(seed=11, empty_share=0.0),
                ),
            )
            for role in (roles["acme"], roles["crux"])
        )
    )


def limited(name: str, text: str) -> str:
    """Write the quotas, in a zone whose midnight is hours away, and a pace that can be watched."""
    hours = time.gmtime().tm_hour - 12
    quota = {
        "acme": f'meter = "day", zone = "Etc/GMT{hours:+d}"',
        "crux": 'meter = "rolling"',
    }[name]
    limits = (
        f'limits = [{{ per = "account", calls = {QUOTA}, {quota} }}, '
        '{ per = "account", calls = 3, seconds = 1, meter = "bucket", burst = 6 }]\n'
        "partitions = 4\n"
    )
    text = re.sub(r"^partitions = .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^limits = \[.*?\]\n", limits, text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def stage(make_a_stage: MakeStage) -> Stage:
    """Give a stage of these two."""
    return make_a_stage(quotas_scene(), limited)


def calls_of(stage: Stage) -> Counter[str]:
    """Return how many calls each account has had."""
    return Counter(call.account for call in stage.simulator.calls())


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_quota_is_counted_by_all_and_its_end_is_no_failure(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a worker's death, a VM's, and a restart no account is called once too often."""
    for account, role in accounts_of(stage.scene):
        for number in range(ASKED):
            stage.ask(account, role, number)
    stage.confirm()
    first, second = (stage.start(stage.vm(name)) for name in ("vm-a", "vm-b"))
    until(lambda: all(vm.all_parts() for vm in (first, second)), "both to have partitions")

    until(lambda: calls_of(stage).total() > QUOTA, "some of it to be used")
    first.daemon.kill_child(next(iter(first.workers().values())))
    until(lambda: calls_of(stage).total() > 3 * QUOTA, "more of it to be used")
    second.daemon.kill_all()
    waiting = 2 * ACCOUNTS * ASKED - 2 * ACCOUNTS * QUOTA
    until(lambda: _waits(stage, first) >= waiting, "all that is left to wait for the resets", 120)

    called = calls_of(stage)
    stopped(first)
    stage.start(first)
    until(lambda: _waits(stage, first) >= waiting, "the same after a restart", 120)
    assert calls_of(stage) == called
    assert len(called) == 2 * ACCOUNTS
    assert all(QUOTA - LOST_MOST <= count <= QUOTA for count in called.values()), called

    capsys.readouterr()
    assert reportctl.main(["limits", "--json", "--config", str(first.config)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["partner"]: one["calls"] for one in told["quotas"]} == {"acme": 0, "crux": 0}
    waits = {one["partner"]: one["waiting"] for one in told["limits"] if one["per"] == "account"}
    assert sum(waits.values()) >= waiting
    assert all(one["workers"] for one in told["limits"])

    stopped(first)
    stage.follow()
    ends = [found[0].record for found in stage.ledgers.ends.values()]
    assert {end.state for end in ends if isinstance(end, End)} == {"result"}
    assert all(end.rows > 0 for end in ends if isinstance(end, End))
    assert len(ends) >= called.total() - 2 * LOST_MOST * ACCOUNTS


def _waits(stage: Stage, vm: Vm) -> int:
    """Return how many requests a VM shows as waiting for a reset, of both partners."""
    return sum(max(0, shown(vm, "quota", name)) for name in stage.partners)
