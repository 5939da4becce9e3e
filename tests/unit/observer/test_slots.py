"""When schedules were last due, as an alert compares it with their runs."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reportd.observer.runs import REMEMBERED_SECONDS
from reportd.observer.slots import LOOK_SECONDS, Slots

WALL = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
ALL = {"daily", "weekly"}


def write(folder: Path, name: str, calendar: str) -> None:
    """Write a schedule; the observer needs no more than its calendar."""
    (folder / f"{name}.toml").write_text(f'calendar = "{calendar}"\naccounts = 5\n')


def test_last_instant_that_has_passed(tmp_path: Path) -> None:
    """Each schedule by its own calendar and zone; a file that is wrong loses no other."""
    write(tmp_path, "daily", "*-*-* 04:00 Europe/Zurich")
    write(tmp_path, "weekly", "Mon *-*-* 06:00 UTC")
    write(tmp_path, "wrong", "now and then")
    (tmp_path / "broken.toml").write_text("calendar = ")

    assert Slots(tmp_path).passed(0.0, WALL, ALL) == {
        "daily": datetime(2026, 11, 22, 3, 0, tzinfo=UTC).timestamp(),
        "weekly": datetime(2026, 11, 16, 6, 0, tzinfo=UTC).timestamp(),
    }


def test_files_are_looked_at_now_and_then(tmp_path: Path) -> None:
    """A schedule that is added is seen without a reload, within a minute."""
    slots = Slots(tmp_path)
    assert slots.passed(0.0, WALL, ALL) == {}
    write(tmp_path, "daily", "*-*-* 04:00")

    assert slots.passed(LOOK_SECONDS - 1, WALL, ALL) == {}
    assert list(slots.passed(LOOK_SECONDS, WALL, ALL)) == ["daily"]


def test_what_passed_before_a_new_schedule_was_there_is_nobodys_fault(tmp_path: Path) -> None:
    """Its timer fires at its next slot: nobody is woken before that was missed."""
    write(tmp_path, "daily", "daily")
    today = datetime.fromtimestamp(time.time(), UTC).replace(hour=0, minute=0, second=0)
    slots = Slots(tmp_path)

    assert slots.passed(0.0, today.timestamp() - 1, ()) == {}
    assert list(slots.passed(LOOK_SECONDS, today.timestamp() - 1, {"daily"})) == ["daily"]
    later = (today + timedelta(days=2)).timestamp()
    assert list(slots.passed(2 * LOOK_SECONDS, later, ())) == ["daily"]


def test_what_is_as_old_as_runs_that_are_forgotten_is_not_told_of(tmp_path: Path) -> None:
    """Whether a yearly schedule was enqueued in January is not known in November."""
    write(tmp_path, "yearly", "yearly")
    january = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    slots = Slots(tmp_path)

    assert slots.passed(0.0, january + 60.0, {"yearly"}) == {"yearly": january}
    assert slots.passed(LOOK_SECONDS, january + REMEMBERED_SECONDS, {"yearly"}) == {}


def test_no_schedules_here(tmp_path: Path) -> None:
    """Only VMs that enqueue have the files."""
    assert Slots(tmp_path / "none").passed(0.0, WALL, ALL) == {}
