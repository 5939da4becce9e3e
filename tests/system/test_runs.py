"""A run that is over: its file, the days' marks, and who is told, by a real daemon."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reportd.model.request import Request
from reportd.model.run import Finished, Manifest, parse_run_record
from tests.system.conftest import MakeStage
from tests.system.stage import RUN, Stage, accounts_of, quick_scene, stopped, unlimited, until

GONE = "acme-03"


@pytest.fixture
def stage(make_a_stage: MakeStage) -> Stage:
    """Give a stage with one quick partner, one of whose four accounts is gone."""
    scene = quick_scene()
    role = scene.roles[0]
    partner = replace(role.partner, gone_accounts=(GONE,))
    return make_a_stage(replace(scene, roles=(replace(role, partner=partner),)), unlimited)


def finished(stage: Stage) -> Finished | None:
    """Return the last record of the run that is over, once everybody was told."""
    records = [parse_run_record(m.value) for m in stage.reader.read_all(stage.topics.runs)]
    found = [one for one in records if isinstance(one, Finished) and one.notified]
    return found[-1] if found else None


def ask(stage: Stage) -> Manifest:
    """Ask three days of every account."""
    for account, role in accounts_of(stage.scene):
        stage.ask(account, role, 0)
    stage.confirm()
    return stage.enqueued()


def test_a_partial_run(stage: Stage, tmp_path: Path) -> None:
    """When the last request has ended: file, list and marks stand, and the command was called.

    The first call kills the observer that makes it: the next observer calls again.
    """
    told = tmp_path / "told"
    once = f"mkdir {tmp_path}/killed && kill -9 $PPID && exit 1"
    vm = stage.vm("vm-a")
    stage.configure(
        vm, more=f"""runs = {{ command = ["/bin/sh", "-c", '{once}; cat >> {told}'] }}"""
    )
    stage.start(vm)
    ask(stage)
    record = until(lambda: finished(stage), "the run to be over", 120)
    stopped(vm)

    assert (tmp_path / "killed").exists()
    assert record is not None
    assert (record.run, record.state, record.states) == (RUN, "partial", {"dead": 1, "result": 3})
    covered = record.reports["acme.campaigns"]
    assert (covered.expected, covered.missing, covered.files) == (12, 3, 9)
    output = stage.place.output
    document = json.loads((output / record.file).read_text())
    listed = [json.loads(line) for line in (output / document["list"]).read_text().splitlines()]
    assert sorted(one["path"] for one in listed) == sorted(
        str(path.relative_to(output)) for path in output.rglob("*.parquet")
    )
    assert [(one["account"], one["why"]) for one in document["missing"]] == [(GONE, "permanent")]
    folder = output / "_reportd/days"
    marks = {str(path.relative_to(folder)) for path in folder.rglob("_*") if path.is_file()}
    days = {day.isoformat() for one in stage.requests.values() for day in one.days()}
    lost = {day.isoformat() for one in gone(stage) for day in one.days()}
    assert marks == {
        f"acme/campaigns/{day}/{'_PARTIAL' if day in lost else '_SUCCESS'}" for day in days
    }
    assert json.loads(told.read_text())["event"] == RUN


def gone(stage: Stage) -> list[Request]:
    """Return the requests of the account that is gone."""
    return [one for one in stage.requests.values() if one.account == GONE]
