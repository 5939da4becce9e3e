"""What an administrator does and sees, within the unit's walls: reload, journal, timers, runs."""

import json
import time

import pytest

from tests.hook import Hook
from tests.system.lab.conftest import MakeLab
from tests.system.lab.installed import OUTPUT, furnish, reconfigure, worker_pids
from tests.system.lab.lab import ROOT, Lab, Packages
from tests.system.stage import RUN, Feeder, Stage, accounts_of, until
from tests.system.test_runs import finished

pytestmark = pytest.mark.long

AFTER = "/usr/local/bin/after-reportd"
OVER = "/var/lib/reportd/over.json"
AFTER_TEXT = f"""\
#!/bin/sh
set -eu
/bin/cp /dev/stdin {OVER}
cp {OVER} {OUTPUT}/
cp {OVER} "$TMPDIR/"
/usr/bin/python3 - "$1" <<'END'
import mmap, sys, urllib.request
headers = {{"Idempotency-Key": "the command's"}}
urllib.request.urlopen(urllib.request.Request(sys.argv[1], open("{OVER}", "rb").read(), headers))
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("makes no code")
END
touch /etc/reportd/over || echo "writes not elsewhere"
cat /etc/reportd/secrets/* || echo "reads no secret"
echo "told of $REPORTD_EVENT, $REPORTD_STATE"
"""
"""What docs/runs.rst says that a command may do, and may not."""
BEYOND = "after-reportd"
BEYOND_UNITS = {
    "path": f"[Path]\nPathChanged={OVER}\n",
    "service": f"[Service]\nType=oneshot\nExecStart=cp {OVER} /root/\n",
}
"""What needs more than the walls allow is started by systemd: the same file's example."""
TIMER = "reportd-enqueue@daily.timer"
TIMER_UNIT = (ROOT / "systemd" / "reportd-enqueue@.timer").read_text()
"""The package that brings it needs PySpark: only the timer is looked at here."""


def status(lab: Lab) -> str:
    """Return the one line of ``systemctl status``."""
    return lab.run("systemctl", "show", "--property=StatusText", "--value", "reportd").strip()


def records(lab: Lab, *wanted: str) -> list[dict[str, str]]:
    """Return the journal's records with these fields."""
    said = lab.run("journalctl", "-t", "reportd", "-o", "json", "--no-pager", *wanted)
    return [json.loads(line) for line in said.splitlines()]


def test_reload_status_and_journal(stage: Stage, make_lab: MakeLab, packages: Packages) -> None:
    """Under load: a reload is over when it is done or says why not; records have their fields."""
    lab = make_lab("operate", folders={OUTPUT: stage.place.output})
    lab.install(packages.reportd)
    vm = furnish(lab, stage)
    reconfigure(lab, stage, vm, more='log = { level = "debug" }')
    lab.systemctl("start", "reportd")
    Feeder(stage, 40).feed()
    before = worker_pids(lab)
    reconfigure(lab, stage, vm, more='log = { level = "debug" }', threads=12)

    began = time.monotonic()
    lab.systemctl("reload", "reportd")
    print(f"reload {time.monotonic() - began:.2f} s")
    after = worker_pids(lab)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())

    until(stage.all_ended, "every request to end")
    (one, *_) = stage.requests.values()
    (record,) = records(lab, f"REQUEST={one.id}", "ACTION=request_result")
    assert (record["PARTNER"], record["ACCOUNT"]) == (one.partner, one.account)
    assert (record["PRIORITY"], record["_SYSTEMD_UNIT"]) == ("7", "reportd.service")
    assert record["PROCESS"].startswith("worker-")
    assert record["_TRANSPORT"] == "journal"
    lab.until(lambda: "nothing open" in status(lab), "an idle status")

    reconfigure(lab, stage, vm, thread=12)
    refused = lab.tries("systemctl", "reload", "reportd")
    assert refused.returncode != 0
    lab.says("workers.thread: unknown setting")
    assert worker_pids(lab) == after
    lab.until(lambda: "workers.thread: unknown setting" in status(lab), "the refusal")


def test_who_is_told_of_a_run(stage: Stage, make_lab: MakeLab, packages: Packages) -> None:
    """A webhook, and a command that may do what is written of it; what it starts by a path unit."""
    lab = make_lab("told", folders={OUTPUT: stage.place.output})
    lab.install(packages.reportd)
    lab.write(AFTER, AFTER_TEXT, mode=0o755)
    for kind, text in BEYOND_UNITS.items():
        lab.write(f"/etc/systemd/system/{BEYOND}.{kind}", text)
    with Hook() as hook:
        vm = furnish(lab, stage)
        runs = f'runs = {{ webhook = "{hook.url}", command = ["{AFTER}", "{hook.url}"] }}'
        reconfigure(lab, stage, vm, more=runs)
        lab.systemctl("start", f"{BEYOND}.path", "reportd")
        for account, role in accounts_of(stage.scene):
            stage.ask(account, role, 0)
        stage.confirm()
        stage.enqueued()
        until(lambda: finished(stage), "the run to be told", 120)

    (headers, body), (of_command, copy) = hook.heard
    assert (headers["idempotency-key"], of_command["idempotency-key"]) == (RUN, "the command's")
    assert json.loads(body)["state"] == "complete"
    assert copy == body
    for words in ("makes no code", "writes not elsewhere", "reads no secret"):
        lab.says(words)
    lab.says(f"told of {RUN}, complete")
    lab.until(lambda: not lab.tries("test", "-s", "/root/over.json").returncode, "the path unit")
    assert lab.read(f"{OUTPUT}/over.json").encode() == body


def test_timers_follow_the_schedules(stage: Stage, make_lab: MakeLab, packages: Packages) -> None:
    """Applied, changed, gone: systemd's own next elapse follows the schedule's file."""
    lab = make_lab("timers", folders={OUTPUT: stage.place.output})
    lab.install(packages.reportd)
    lab.write("/etc/systemd/system/reportd-enqueue@.timer", TIMER_UNIT)
    lab.write("/etc/systemd/system/reportd-enqueue@.service", "[Service]\nExecStart=true\n")
    furnish(lab, stage)
    file = "/etc/reportd/schedules/daily.toml"
    calendar = lab.read(file)
    assert "calendar = " in calendar

    for hour in ("04", "05"):
        lines = [
            f'calendar = "*-*-* {hour}:00 UTC"' if line.startswith("calendar = ") else line
            for line in calendar.splitlines()
        ]
        lab.write(file, "\n".join(lines) + "\n")
        lab.run("reportctl", "schedule", "apply")
        lab.run("reportctl", "schedule", "list")
        shown = lab.show(TIMER, "ActiveState", "UnitFileState", "NextElapseUSecRealtime")
        assert (shown["ActiveState"], shown["UnitFileState"]) == ("active", "enabled")
        assert f" {hour}:00:" in shown["NextElapseUSecRealtime"]

    lab.run("rm", file)
    lab.run("reportctl", "schedule", "apply")
    assert lab.tries("systemctl", "is-active", TIMER).stdout.strip() == "inactive"
    assert lab.tries("test", "-e", f"/etc/systemd/system/{TIMER}.d").returncode
