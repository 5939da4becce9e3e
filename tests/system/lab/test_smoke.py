"""The installed packages at work: enqueued, started, requests become files, stopped."""

import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.conftest import MakeStage
from tests.system.lab.conftest import MakeLab
from tests.system.lab.installed import OUTPUT, furnish, output_files
from tests.system.lab.lab import Lab, Packages
from tests.system.lab.parts import java_folders, java_package
from tests.system.stage import Feeder, Stage, quick_scene, unlimited, until

pytestmark = pytest.mark.long

REQUESTS = 40
DRAIN_SECONDS = 8
ANALYSTS = 850
"""The number of a group that reads the files."""


def test_installed_daemon_works(stage: Stage, make_lab: MakeLab, packages: Packages) -> None:
    """Installed, configured, started: requests become files, for whom they should be.

    A stop drains and ends with 0.
    """
    lab = make_lab("smoke", folders={OUTPUT: stage.place.output})
    lab.install(packages.reportd)
    lab.run("groupadd", "--gid", f"{ANALYSTS}", "analysts")
    lab.drop_in("reportd.service", "[Service]\nSupplementaryGroups=analysts\n", "20-group")
    stage.output = (
        f'root = "{stage.place.output}"',
        'group = "analysts"',
        'mode = "0640"',
        'folder_mode = "2750"',
    )
    furnish(lab, stage)

    began = time.monotonic()
    lab.systemctl("start", "reportd")
    started = time.monotonic() - began
    Feeder(stage, REQUESTS).feed()
    until(stage.all_ended, "every request to end")
    began = time.monotonic()
    lab.systemctl("stop", "reportd")
    stopped = time.monotonic() - began

    print(f"start {started:.2f} s, stop {stopped:.2f} s")
    assert ended_well(lab, "reportd")
    assert {(ANALYSTS, "-rw-r-----")} == {_shown(file) for file in output_files(stage)}
    assert {(ANALYSTS, "drwxr-s---")} == {_shown(file.parent) for file in output_files(stage)}
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))


def test_drain_outlasts_the_units_own_timeout(
    stage: Stage, make_lab: MakeLab, packages: Packages
) -> None:
    """A configured drain that is longer than ``TimeoutStopSec`` is waited for."""
    lab = make_lab("drain", folders={OUTPUT: stage.place.output})
    lab.install(packages.reportd)
    furnish(lab, stage, drain_seconds=DRAIN_SECONDS)
    lab.drop_in("reportd.service", "[Service]\nTimeoutStopSec=2\n")
    lab.systemctl("start", "reportd")
    stage.simulator.hold()
    Feeder(stage, REQUESTS).feed()
    until(lambda: stage.in_flight() > 0, "calls in flight")

    began = time.monotonic()
    lab.systemctl("stop", "reportd")
    stopped = time.monotonic() - began

    assert stopped >= DRAIN_SECONDS
    assert ended_well(lab, "reportd")


def test_enqueued_by_its_unit(
    make_a_stage: MakeStage, make_lab: MakeLab, packages: Packages, tmp_path: Path
) -> None:
    """Spark runs within the unit's walls and fetches nothing; what it wrote becomes files."""
    scene = quick_scene()
    scene = replace(scene, roles=tuple(replace(role, asks=2) for role in scene.roles))
    stage = make_a_stage(scene, unlimited)
    parts = tmp_path / "parts"
    parts.mkdir()
    lab = make_lab(
        "enqueue", folders={OUTPUT: stage.place.output, "/parts": parts, **java_folders()}
    )
    lab.install(java_package(parts), packages.reportd, packages.enqueue)
    furnish(lab, stage)

    began = time.monotonic()
    lab.systemctl("start", "reportd-enqueue@daily.service", seconds=180)
    print(f"enqueue {time.monotonic() - began:.2f} s")
    lab.systemctl("start", "reportd")

    assert ended_well(lab, "reportd-enqueue@daily")
    assert lab.tries("test", "-e", "/var/cache/reportd/ivy-4.2.0").returncode, "it has fetched"
    files = len(list(scene.accounts())) * sum(role.asks * role.days for role in scene.roles)
    lab.until(lambda: len(output_files(stage)) == files, f"{files} files")


def _shown(path: Path) -> tuple[int, str]:
    """Return a file's group and permissions, as ``ls`` shows them."""
    found = path.stat()
    return found.st_gid, stat.filemode(found.st_mode)


def ended_well(lab: Lab, unit: str) -> bool:
    """Say whether a unit has ended by itself, with 0, at the first try; fails with its journal."""
    expected = {"Result": "success", "ExecMainStatus": "0", "NRestarts": "0"}
    assert lab.show(unit, *expected) == expected, lab.journal(unit)
    return True
