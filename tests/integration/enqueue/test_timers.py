"""What is to do for the timers to be as the schedules say; `systemctl` is a script that notes."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reportd.config.schedule import Schedule, load_schedules
from reportd.enqueue.timers import HEADER, Timers, changes, ours
from reportd.errors import ConfigError, ReportdError

SCHEDULE = """
calendar = "{calendar}"
accounts = "accounts.csv"
[[ask]]
report = "acme.campaigns"
days = "1..7"
"""
SYSTEMCTL = """#!/bin/sh
shift  # --no-pager
echo "$@" >> {folder}/asked
case "$1" in
    is-system-running) echo {running} ;;
    show) printf 'ActiveState=active\\nNextElapseUSecRealtime=Sat 2026-11-28 03:00:12 UTC\\n' ;;
    {fails}) echo 'Unit file does not exist.' >&2; exit 1 ;;
esac
"""


class Place:
    """Schedules, a folder of systemd's, and a program that says what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.schedules = folder / "schedules"
        self.units = folder / "system"
        self.schedules.mkdir()
        self.units.mkdir()
        self.systemctl()

    def systemctl(self, running: str = "running", fails: str = "nothing") -> Timers:
        program = self.folder / "systemctl"
        program.write_text(SYSTEMCTL.format(folder=self.folder, running=running, fails=fails))
        program.chmod(0o755)
        return Timers(str(program))

    def write(self, name: str, calendar: str = "*-*-* 04:00 Europe/Zurich") -> None:
        (self.schedules / f"{name}.toml").write_text(SCHEDULE.format(calendar=calendar))

    def load(self) -> Mapping[str, Schedule]:
        return load_schedules(self.schedules)

    def drop_in(self, name: str) -> Path:
        return self.units / f"reportd-enqueue@{name}.timer.d" / "50-schedule.conf"

    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_calendar_is_reset_and_written(place: Place) -> None:
    """The drop-in says who wrote it, forgets what stood before, and sets the calendar in full."""
    place.write("daily")
    place.systemctl().apply(changes(place.load(), place.units))

    lines = place.drop_in("daily").read_text().splitlines()
    assert lines[0].startswith(HEADER)
    assert [line for line in lines if not line.startswith("#")] == [
        "[Timer]",
        "OnCalendar=",
        "OnCalendar=*-*-* 04:00:00 Europe/Zurich",
    ]
    assert place.asked() == ["daemon-reload", "enable --now reportd-enqueue@daily.timer"]
    assert [each.name for each in place.drop_in("daily").parent.iterdir()] == ["50-schedule.conf"]


def test_doing_it_again_changes_nothing(place: Place) -> None:
    """The second time nothing is written; systemd is told all the same: the first may have died."""
    place.write("daily")
    timers = place.systemctl()
    timers.apply(changes(place.load(), place.units))
    before = place.drop_in("daily").stat().st_ino
    planned = changes(place.load(), place.units)
    timers.apply(planned)

    assert (list(planned.write), list(planned.remove)) == ([], [])
    assert place.drop_in("daily").stat().st_ino == before  # not the time it was read
    assert place.asked()[2:] == place.asked()[:2]


def test_changed_calendar_is_rewritten(place: Place) -> None:
    """The file follows the schedule."""
    place.write("daily")
    timers = place.systemctl()
    timers.apply(changes(place.load(), place.units))
    place.write("daily", "Mon 05:00 UTC")
    planned = changes(place.load(), place.units)
    timers.apply(planned)

    assert [one.schedule for one in planned.write] == ["daily"]
    assert "OnCalendar=Mon *-*-* 05:00:00 UTC\n" in place.drop_in("daily").read_text()


def test_gone_schedule_loses_its_timer(place: Place) -> None:
    """The timer is stopped before its file goes; folders that hold somebody's own file stay."""
    place.write("daily")
    place.write("weekly")
    timers = place.systemctl()
    timers.apply(changes(place.load(), place.units))
    mine = place.drop_in("weekly").with_name("override.conf")
    mine.write_text("[Timer]\nRandomizedDelaySec=1h\n")
    for name in ("daily", "weekly"):
        (place.schedules / f"{name}.toml").unlink()
    timers.apply(changes(place.load(), place.units))

    assert ours(place.units) == []
    assert not place.drop_in("daily").parent.exists()
    assert mine.exists()
    assert place.asked()[-3:] == [
        "disable --now reportd-enqueue@daily.timer",
        "disable --now reportd-enqueue@weekly.timer",
        "daemon-reload",
    ]


def test_only_named_ones_are_touched(place: Place) -> None:
    """With names the others stay as they are, gone or not."""
    for name in ("daily", "weekly"):
        place.write(name)
    timers = place.systemctl()
    timers.apply(changes(place.load(), place.units, ["daily"]))
    (place.schedules / "daily.toml").unlink()
    timers.apply(changes(place.load(), place.units, ["weekly"]))

    assert [one.schedule for one in ours(place.units)] == ["daily", "weekly"]


def test_foreign_file_is_left_alone(place: Place) -> None:
    """A file of that name that somebody else wrote is an error, never overwritten or removed."""
    place.write("daily")
    foreign = place.drop_in("daily")
    foreign.parent.mkdir()
    foreign.write_text("[Timer]\nOnCalendar=hourly\n")

    with pytest.raises(ConfigError, match="was not written by reportctl; move it away"):
        changes(place.load(), place.units)
    (place.schedules / "daily.toml").unlink()
    assert changes(place.load(), place.units).remove == []


def test_no_systemd_is_said_before_anything(place: Place, tmp_path: Path) -> None:
    """Neither a system that was booted otherwise, nor one without the program."""
    for timers in (place.systemctl(running="offline"), Timers(str(tmp_path / "none"))):
        with pytest.raises(ReportdError, match="no systemd runs here"):
            timers.require()
    place.systemctl().require()


def test_what_systemctl_says_is_passed_on(place: Place) -> None:
    """A unit that is not installed: its words, and the command."""
    place.write("daily")
    with pytest.raises(ReportdError, match=r"systemctl enable --now .* Install the package"):
        place.systemctl(fails="enable").apply(changes(place.load(), place.units))


def test_who_may_not_write_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to write (tests may be root, who has it): which file, what to do."""
    place.write("daily")

    def forbidden(folder: Path, **_how: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(ReportdError, match=r"/.*50-schedule.conf: not allowed: run it as root"):
        place.systemctl().apply(changes(place.load(), place.units))


def test_state_is_systemds(place: Place) -> None:
    """Whether it is active and when it elapses, in systemd's words; nothing without one."""
    assert place.systemctl().state("daily") == ("active", "Sat 2026-11-28 03:00:12 UTC")
    assert Timers(str(place.folder / "none")).state("daily") == ("", "")
