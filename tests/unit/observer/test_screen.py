"""The one screen that status, top and the page show."""

from dataclasses import replace
from typing import Any

from reportd.model.vm import LimitUse, Vm
from reportd.observer.page import page
from reportd.observer.progress import Progress
from reportd.observer.screen import Screen, Table, screen
from reportd.observer.status import document
from tests.unit.observer.test_status import WALL, daemon, over, sight, worker


def shown(**more: Any) -> Screen:
    """Return the screen of a sight."""
    return screen(document(sight(**more), {"acme": 33.0}, Progress()))


def table(found: Screen, first: str) -> Table:
    """Return the table whose first column is called so."""
    (wanted,) = [one for one in found.tables if one.columns[0] == first]
    return wanted


def row(found: Table, first: object) -> dict[str, object]:
    """Return a row by its first cell, by column."""
    (cells,) = [one for one in found.rows if one[0] == first]
    return dict(zip(found.columns, cells, strict=True))


def test_all_is_well() -> None:
    """Runs, partners, limits and processes; nothing needs a person."""
    found = shown()

    assert found.is_ready
    assert found.headline.startswith("vm-1: running, ready, at ")
    assert found.needed == ()
    assert [one.columns[0] for one in found.tables] == ["run", "partner", "limit", "process"]
    assert row(table(found, "partner"), "acme")["open"] == 32
    assert row(table(found, "limit"), "acme")["in use"] == "90%"
    assert row(table(found, "process"), "worker-0")["MB"] == 3


def test_limits_of_other_vms_are_shown_as_theirs() -> None:
    """Who holds what of a limit: this VM, which is not named, or another."""
    use = LimitUse(partner="bolt", per="partner", scopes=1, share=0.5)
    other = Vm(machine="vm-2", incarnation="j", config="c1", limits=(use,))
    found = table(shown(vms=(other,)), "limit")

    assert [cells[-1] for cells in found.rows] == ["", "vm-2"]
    assert row(found, "bolt")["in use"] == "50%"


def test_what_needs_a_person_comes_first() -> None:
    """Why this VM is not ready, then what somebody should look at."""
    circuit = {"partner": "acme", "kind": "outage", "reason": "503 for everyone"}
    full = worker(circuits=[circuit], output_away="disk full")
    found = shown(workers={"worker-0": full}, daemon=daemon())

    assert not found.is_ready
    assert "NOT READY" in found.headline
    assert found.needed[0] == "worker-0 cannot write: disk full"
    assert "warning: acme: calls are held back (outage, 503 for everyone)" in found.needed


def test_a_run_that_is_open_beside_a_newer_one_is_shown() -> None:
    """And told of when it is late: the newest may be over long before it."""
    (newest,) = sight().runs.values()
    before = newest.model_copy(update={"run": "daily/2026-11-21T04:00Z#1", "deadline": WALL - 60})
    found = shown(older=(before,))

    assert row(table(found, "run"), before.run)["state"] == "1 min late"
    assert row(table(found, "run"), before.run)["open at most"] == 40
    assert found.needed == (f"warning: run {before.run} is late: at most 40 open",)


def test_states_of_runs() -> None:
    """How long is left, how late it is, or how it ended and what is missing of it."""
    assert row(table(shown(), "run"), "daily/2026-11-22T04:00Z#1")["state"] == "1 h left"
    late = table(shown(wall=WALL + 3700), "run")
    assert row(late, "daily/2026-11-22T04:00Z#1")["state"] == "1 min 40 s late"


def test_a_run_that_is_over() -> None:
    """The newest run of a schedule says so itself; the one before stands below the newest."""
    before = over(daily=1)["daily"]
    newest = before.model_copy(update={"run": "daily/2026-11-22T04:00Z#1", "state": "complete"})

    both = table(shown(finished={"daily": before}), "run")
    assert [cells[0] for cells in both.rows] == [newest.run, before.run]
    assert row(both, before.run)["state"] == "partial"
    assert row(both, before.run)["missing"] == 1
    one = table(shown(finished={"daily": newest}), "run")
    assert [cells[3] for cells in one.rows] == ["complete"]


def test_a_document_of_another_version() -> None:
    """What is not there is not shown, and fails nothing."""
    found = screen({"machine": "vm-1"})

    assert not found.is_ready
    assert found.tables == ()


def test_page_is_harmless_and_self_contained() -> None:
    """Whatever a partner answered is text; nothing is loaded from elsewhere."""
    nasty = "<script>alert('1')</script>"
    found = replace(
        shown(), needed=(nasty,), headline=nasty, tables=(Table((nasty,), ((nasty,),)),)
    )

    text = page(found)

    assert nasty not in text
    assert text.count("<script>") == 1
    assert "http:" not in text
    assert "https:" not in text
    assert "//" not in text.replace("text/html", "")
