"""The installed package at work: started, a request becomes a file, stopped."""

import time

from tests.system.lab.conftest import MakeLab
from tests.system.lab.installed import OUTPUT, furnish, output_files
from tests.system.lab.lab import Packages
from tests.system.stage import Feeder, Stage, until

REQUESTS = 40


def test_installed_daemon_works(stage: Stage, make_lab: MakeLab, packages: Packages) -> None:
    """Installed, configured, started: requests become files; a stop drains and ends with 0."""
    lab = make_lab("smoke", folders={OUTPUT: stage.place.output})
    lab.install(packages.reportd)
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
    assert lab.show("reportd", "Result", "ExecMainStatus", "NRestarts") == {
        "Result": "success",
        "ExecMainStatus": "0",
        "NRestarts": "0",
    }, lab.journal("reportd")
    assert output_files(stage)
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))
