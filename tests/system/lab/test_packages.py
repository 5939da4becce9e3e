"""Install, upgrade, downgrade, remove, purge: what stays and what goes, without a network."""

from pathlib import Path

from tests.system.lab.conftest import MakeLab
from tests.system.lab.lab import Lab, Packages
from tests.system.lab.parts import BULK, java_folders, java_package, repacked

MINE = {
    "/etc/reportd/conf.d/10-site.toml": 'kafka = { servers = "k1:9092" }\n',
    "/etc/reportd/partners/shop.toml": "# mine\n",
    "/etc/reportd/secrets/shop": "hunter2\n",
    "/var/lib/reportd/output/shop/orders.csv": "1,2\n",
}
"""What an administrator and the daemon have put there."""
DROP_IN = "/etc/systemd/system/reportd-enqueue@daily.timer.d/50-schedule.conf"
OWN = "/etc/systemd/system/reportd.service.d/memory.conf"


def test_what_debian_users_expect(make_lab: MakeLab, packages: Packages, tmp_path: Path) -> None:
    """Configuration survives everything but a purge; what others have put there survives that."""
    both = (packages.reportd, packages.enqueue)
    older, newer = (
        [repacked(deb, version, tmp_path, without=BULK) for deb in both]
        for version in ("0.0.1", "99")
    )
    lab = make_lab("packages", folders={"/parts": tmp_path, **java_folders()}, private_network=True)
    before = _files(lab)

    lab.install(java_package(tmp_path), *older)
    for path, text in MINE.items():
        lab.write(path, text)
    lab.shell("echo '# a change of mine' >>/etc/reportd/reportd.toml")
    lab.write(OWN, "[Service]\nMemoryMax=4G\n")
    lab.write(DROP_IN, "[Timer]\nOnCalendar=daily\n")  # as `reportctl schedule apply` does
    lab.run("systemctl", "enable", "--now", "reportd-enqueue@daily.timer")
    _is_there(lab, "0.0.1")

    lab.install(*newer)
    _is_there(lab, "99")
    lab.install(*older)
    _is_there(lab, "0.0.1")

    lab.run("dpkg", "--remove", "reportd-enqueue", "reportd")
    assert lab.tries("test", "-e", "/opt/reportd").returncode
    assert lab.state("reportd-enqueue@daily.timer") == "inactive"
    assert {path: lab.read(path) for path in MINE} == MINE
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
    asked = "import reportd, importlib.metadata as m; print(m.version('reportd'))"
    assert lab.run("/opt/reportd/bin/python3", "-I", "-c", asked)
    assert lab.run("dpkg-query", "-W", "-f", "${Version}", "reportd") == version
    assert "# a change of mine" in lab.read("/etc/reportd/reportd.toml")
    assert {path: lab.read(path) for path in MINE} == MINE
    assert lab.state("reportd-enqueue@daily.timer") == "active"
    assert lab.state("reportd") == "inactive"


def _files(lab: Lab) -> set[str]:
    """Return every file that is not the system's own to change."""
    said = lab.run(
        *("find", "/", "-xdev", "-not", "-type", "d"),
        *("-not", "-path", "/var/lib/dpkg/*", "-not", "-path", "/var/log/*"),
        *("-not", "-path", "/etc/*-", "-not", "-path", "/parts/*"),
    )
    return set(said.splitlines())
