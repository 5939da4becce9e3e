"""Install, upgrade, downgrade, remove, purge: what stays and what goes, without a network."""

from pathlib import Path

import pytest

from tests.system.lab.conftest import MakeLab
from tests.system.lab.lab import Lab, Packages
from tests.system.lab.parts import BULK, java_folders, java_package, repacked

pytestmark = pytest.mark.long

MINE = {
    "/etc/reportd/conf.d/10-site.toml": 'kafka = { servers = "k1:9092" }\n',
    "/etc/reportd/partners/shop.toml": "# mine\n",
    "/etc/reportd/secrets/shop": "hunter2\n",
    "/var/lib/reportd/output/shop/orders.csv": "1,2\n",
}
"""What an administrator and the daemon have put there."""
DROP_IN = "/etc/systemd/system/reportd-enqueue@daily.timer.d/50-schedule.conf"
OWN = "/etc/systemd/system/reportd.service.d/own.conf"
OWN_TEXT = "[Service]\nType=exec\nExecStart=\nExecStart=sleep infinity\nWatchdogSec=0\n"
"""A daemon that needs no Kafka."""
REFUSED_TEXT = (
    "[Service]\nExecStart=\nExecStart=sh -c 'systemd-notify --status=\"what is wrong\"; exit 78'\n"
    "NotifyAccess=all\nWatchdogSec=0\n"
)
"""One that refuses the configuration on disk."""


def test_what_debian_users_expect(make_lab: MakeLab, packages: Packages, tmp_path: Path) -> None:
    """Configuration survives everything but a purge; what others have put there survives that."""
    older, newer = [], []
    for deb in (packages.reportd, packages.enqueue):
        older.append(repacked(deb, "0.0.1", tmp_path, without=BULK))
        newer.append(repacked(older[-1], "99", tmp_path))
    lab = make_lab("packages", folders={"/parts": tmp_path, **java_folders()}, private_network=True)
    before = _files(lab)

    lab.install(java_package(tmp_path), *older)
    for path, text in MINE.items():
        lab.write(path, text)
    lab.write(OWN, OWN_TEXT)
    lab.write(DROP_IN, "[Timer]\nOnCalendar=daily\n")  # as `reportctl schedule apply` does
    lab.shell(
        "echo '# a change of mine' >>/etc/reportd/reportd.toml\n"
        "systemctl daemon-reload; systemctl enable --now reportd-enqueue@daily.timer"
    )
    _is_there(lab, "0.0.1")
    assert _main_pid(lab) == "0"
    lab.shell("systemctl daemon-reload; systemctl start reportd")
    first = _main_pid(lab)

    lab.install(*newer)
    _is_there(lab, "99")
    second = _main_pid(lab)
    lab.write(OWN, REFUSED_TEXT)
    said = lab.install(newer[0])
    assert "reportd: the daemon does not run: what is wrong" in said
    lab.write(OWN, OWN_TEXT)
    lab.shell("systemctl daemon-reload; systemctl start reportd")
    assert "the daemon does not run" not in lab.install(*older)
    _is_there(lab, "0.0.1")
    assert len({"0", first, second, _main_pid(lab)}) == 4, "it was not restarted"

    lab.run("dpkg", "--remove", "reportd-enqueue", "reportd")
    assert _main_pid(lab) == "0"
    assert lab.tries("test", "-e", "/opt/reportd").returncode
    assert lab.state("reportd-enqueue@daily.timer") == "inactive"
    assert lab.run("cat", *MINE) == "".join(MINE.values())
    lab.install(*older)
    _is_there(lab, "0.0.1")

    said = lab.run("dpkg", "--purge", "reportd-enqueue", "reportd")
    assert "/etc/reportd has files of yours and stays" in said
    lab.run("dpkg", "--purge", "java-of-this-machine")

    left = _files(lab) - before
    assert left == {*MINE, OWN}, left ^ {*MINE, OWN}
    assert "reportd" in lab.read("/etc/passwd"), "files elsewhere may be the user's"


def _is_there(lab: Lab, version: str) -> None:
    """See that the version is there, the configuration as it was, and the timer waits."""
    said = lab.shell(
        "/opt/reportd/bin/python3 -Ic 'import reportd'; dpkg-query -W -f '${Version}\\n' reportd\n"
        "tail -n 1 /etc/reportd/reportd.toml\n"
        "systemctl is-active reportd-enqueue@daily.timer\n"
        f"cat {' '.join(MINE)}"
    )

    expected = f"{version}\n# a change of mine\nactive\n{''.join(MINE.values())}"
    assert said == expected


def _main_pid(lab: Lab) -> str:
    """Return the daemon's pid; 0: it does not run."""
    return lab.show("reportd", "MainPID")["MainPID"]


def _files(lab: Lab) -> set[str]:
    """Return every file that is not the system's own to change."""
    said = lab.run(
        *("find", "/", "-xdev", "-not", "-type", "d"),
        *("-not", "-path", "/var/lib/dpkg/*", "-not", "-path", "/var/log/*"),
        *("-not", "-path", "/etc/*-", "-not", "-path", "/parts/*"),
    )
    return set(said.splitlines())
