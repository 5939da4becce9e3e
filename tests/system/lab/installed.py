"""reportd installed in a lab, configured for a stage: its broker, its simulator, its output.

The configuration is what an administrator would write: ``conf.d``, partner files and secrets in
``/etc/reportd``, a drop-in for the output. The output is a folder of this machine that the lab
sees as `OUTPUT`, so the stage's audit reads the very files.
"""

from pathlib import Path
from typing import Any

from tests.system.lab.lab import Lab
from tests.system.stage import Stage, Vm

OUTPUT = "/srv/output"
"""Where a lab sees the stage's output: ``folders={OUTPUT: stage.place.output}``."""

_OUTPUT_DROP_IN = f"[Service]\nReadWritePaths={OUTPUT}\n"


def furnish(lab: Lab, stage: Stage, name: str = "vm-a", **settings: Any) -> Vm:
    """Configure the installed daemon for the stage; nothing is started.

    ``settings`` are those of `Stage.vm`. Returns what the stage knows of the VM: the port of its
    observer; its ``daemon`` and ``log`` are not used.
    """
    vm = stage.vms.get(name) or stage.vm(name, **settings)
    reconfigure(lab, stage, vm, **settings)
    for partner in sorted(stage.place.partners.glob("*.toml")):
        lab.write(f"/etc/reportd/partners/{partner.name}", partner.read_text())
    for secret in sorted((stage.place.config.parent / "secrets").iterdir()):
        lab.write(f"/etc/reportd/secrets/{secret.name}", secret.read_text(), mode=0o600)
    accounts = "/etc/reportd/accounts.csv"
    schedule = stage.place.schedule.read_text().replace(str(stage.place.accounts), accounts)
    lab.write(f"/etc/reportd/schedules/{stage.place.schedule.name}", schedule)
    lab.write(accounts, stage.place.accounts.read_text())
    lab.drop_in("reportd.service", _OUTPUT_DROP_IN, "10-output")
    lab.run("chown", "reportd:reportd", OUTPUT)
    return vm


def reconfigure(lab: Lab, stage: Stage, vm: Vm, **settings: Any) -> None:
    """Write the VM's settings anew; the daemon has to be reloaded or restarted."""
    stage.configure(vm, **settings)
    text = vm.config.read_text().replace(str(stage.place.output), OUTPUT)
    lab.write("/etc/reportd/conf.d/50-test.toml", text)


def worker_pids(lab: Lab) -> dict[str, int]:
    """Return the lab's workers: ``worker 0`` -> its pid on this machine."""
    return {title: pid for pid, title in lab.processes().items() if title.startswith("worker")}


def output_files(stage: Stage) -> list[Path]:
    """Return the finished files, without what is reportd's own."""
    root = stage.place.output
    found = (path for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.relative_to(root).parts[0].startswith("_"))
