"""When schedules were last due, as an alert compares it with their runs."""

from datetime import UTC, datetime
from pathlib import Path

from reportd.observer.slots import LOOK_SECONDS, Slots

WALL = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()


def write(folder: Path, name: str, calendar: str) -> None:
    """Write a schedule; the observer needs no more than its calendar."""
    (folder / f"{name}.toml").write_text(f'calendar = "{calendar}"\naccounts = 5\n')


def test_last_instant_that_has_passed(tmp_path: Path) -> None:
    """Each schedule by its own calendar and zone; a file that is wrong loses no other."""
    write(tmp_path, "daily", "*-*-* 04:00 Europe/Zurich")
    write(tmp_path, "weekly", "Mon *-*-* 06:00 UTC")
    write(tmp_path, "wrong", "now and then")
    (tmp_path / "broken.toml").write_text("calendar = ")

    assert Slots(tmp_path).passed(0.0, WALL) == {
        "daily": datetime(2026, 11, 22, 3, 0, tzinfo=UTC).timestamp(),
        "weekly": datetime(2026, 11, 16, 6, 0, tzinfo=UTC).timestamp(),
    }


def test_files_are_looked_at_now_and_then(tmp_path: Path) -> None:
    """A schedule that is added is seen without a reload, within a minute."""
    slots = Slots(tmp_path)
    assert slots.passed(0.0, WALL) == {}
    write(tmp_path, "daily", "*-*-* 04:00")

    assert slots.passed(LOOK_SECONDS - 1, WALL) == {}
    assert list(slots.passed(LOOK_SECONDS, WALL)) == ["daily"]


def test_no_schedules_here(tmp_path: Path) -> None:
    """Only VMs that enqueue have the files."""
    assert Slots(tmp_path / "none").passed(0.0, WALL) == {}
