"""Classes and accounts that share one limit, in the real daemon: by weight, evenly, to the end."""

import re
from collections import Counter

import pytest

from reportd.model.request import CLASSES, Request
from tests.system.conftest import MakeStage
from tests.system.stage import Stage, accounts_of, quick_scene, stopped, until

BULK = 1_500
"""One account's daily requests, enqueued before all others."""
EACH = {"daily": 24, "restatement": 20, "backfill": 12}
"""Requests of each other account."""


def of_the_partner(_name: str, text: str) -> str:
    """Let the partner as a whole be limited: one partition, one worker, one limit for all."""
    limit = '{ per = "partner", calls = 60, seconds = 2, meter = "fixed", margin_seconds = 0.2 }'
    text = re.sub(r"limits = .*", f"limits = [{limit}]", text)
    return text.replace("partitions = 4", "partitions = 1")


@pytest.fixture
def stage(make_a_stage: MakeStage) -> Stage:
    """Give a stage whose partner's limit all accounts share."""
    return make_a_stage(quick_scene(accounts=5), of_the_partner)


def test_daily_work_goes_first_and_starves_nobody(stage: Stage) -> None:
    """16 : 4 : 1 while all have work; a bulk before all others delays none of them."""
    (bulk, role), *others = accounts_of(stage.scene)
    for number in range(BULK):
        stage.ask(bulk, role, number)
    for place, class_ in enumerate(CLASSES):
        for number in range(100 * place, 100 * place + EACH[class_]):
            for account, _ in others:
                run = f"{class_}/2025-11-22T04:00Z#1"
                stage.ask(account, role, number, run=run, class_=class_)
    stage.confirm()
    vm = stage.start(stage.vm("vm-a", processes=1))

    done = {name for name, one in stage.requests.items() if one.account != bulk.account}
    until(lambda: done <= stage.follow().ends.keys(), "all but the bulk to end", 120)
    stopped(vm)

    called = in_order(stage)
    small_daily = [one for one in called if one.class_ == "daily" and one.account != bulk.account]
    firsts = {(one.class_, one.account): at for at, one in reversed([*enumerate(called)])}
    of_class = [min(at for (name, _), at in firsts.items() if name == one) for one in CLASSES]
    all_read = max(*of_class, *(at for (name, _), at in firsts.items() if name == "daily"))
    shared = called[all_read : called.index(small_daily[-1])]
    by_class = Counter(one.class_ for one in shared)
    share = {name: count / len(shared) for name, count in by_class.items()}
    assert share["daily"] == pytest.approx(16 / 21, abs=0.06), by_class
    assert share["restatement"] == pytest.approx(4 / 21, abs=0.06), by_class
    assert share["backfill"] == pytest.approx(1 / 21, abs=0.03), by_class
    daily = Counter(one.account for one in shared if one.class_ == "daily")
    assert len(daily) == 5
    assert max(daily.values()) <= 1.25 * min(daily.values()), daily


def in_order(stage: Stage) -> list[Request]:
    """Return what was called, in the order of the first calls."""
    names = stage.request_of()
    found = dict.fromkeys(names[call.question] for call in stage.simulator.calls())
    return [stage.requests[name] for name in found]
