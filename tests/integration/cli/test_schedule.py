"""`reportctl schedule` says what the timers are and makes them as the schedules say."""

import json
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.errors import EXIT_CONFIG
from tests.integration.enqueue.test_timers import SCHEDULE, SYSTEMCTL

CONFIG = """
kafka = { servers = "127.0.0.1:9" }
output = { root = "out" }
"""


class Place:
    """A configuration with a schedule, and a systemd that agrees to everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "system"
        for name in ("schedules", "system", "bin"):
            (folder / name).mkdir()
        (folder / "reportd.toml").write_text(CONFIG)
        self.schedule = folder / "schedules" / "daily.toml"
        asks = SCHEDULE.format(calendar="*-*-* 04:00")
        self.schedule.write_text(f'deadline = "07:00"\n{asks}')
        program = folder / "bin" / "systemctl"
        program.write_text(SYSTEMCTL.format(folder=folder, running="running", fails="nothing"))
        program.chmod(0o755)

    def run(self, action: str, *more: str) -> int:
        config = str(self.folder / "reportd.toml")
        where = ["--config", config, "--systemd-dir", str(self.units)]
        return reportctl.main(["schedule", action, *more, *where])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return made


def test_apply_then_list(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What is to be applied is said, applied once, and right after that."""
    assert place.run("list") == 1
    assert "to be applied" in capsys.readouterr().out

    assert place.run("apply") == 0
    said = capsys.readouterr().out
    assert "reportd-enqueue@daily.timer: written to " in said
    assert "Sat 2026-11-28 03:00:12 UTC" in said

    assert place.run("apply") == 0
    assert "reportd-enqueue@daily.timer: is right" in capsys.readouterr().out
    assert place.run("list", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["schedule"], found["timer"], len(found["slots"])) == ("daily", "active", 3)
    assert found["deadline"] == "07:00 UTC"


def test_none_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """And where one is looked for: not a table of nothing."""
    place.schedule.unlink()

    assert place.run("list") == 0
    assert capsys.readouterr().out == f"no schedule in {place.schedule.parent} yet\n"


def test_dry_run_touches_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be done, asks systemd nothing and writes nothing."""
    assert place.run("apply", "--dry-run") == 0

    assert "would be written to" in capsys.readouterr().out
    assert list(place.units.iterdir()) == []
    assert not (place.folder / "asked").exists()


def test_unknown_name_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a slip of the pen: which one was meant."""
    assert place.run("apply", "dayly") == EXIT_CONFIG
    assert "no schedule 'dayly'; did you mean 'daily'?" in capsys.readouterr().err


def test_wrong_schedule_changes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A calendar that is none is said, and no timer is touched."""
    place.schedule.write_text(SCHEDULE.format(calendar="whenever"))

    assert place.run("apply") == EXIT_CONFIG
    assert "daily.toml: calendar" in capsys.readouterr().err
    assert list(place.units.iterdir()) == []


def test_folder_that_is_away_stops_no_timer(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mount that is missing says nothing of the schedules in it."""
    assert place.run("apply") == 0
    asked = (place.folder / "asked").read_text()
    place.schedule.parent.rename(place.schedule.parent.with_name("away"))

    for action in ("apply", "list"):
        assert place.run(action) == EXIT_CONFIG
        assert "schedules_folder" in capsys.readouterr().err
    assert (place.folder / "asked").read_text() == asked
