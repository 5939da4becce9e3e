"""The installed units: their walls, and what systemd does when something is missing."""

import re

import pytest

from tests.system.lab.conftest import MakeLab
from tests.system.lab.lab import Lab, Packages
from tests.system.lab.parts import BULK, java_folders, java_package, repacked

pytestmark = pytest.mark.long

MOST_EXPOSED = 1.5
SECRETS = "/etc/reportd/secrets"
SHOWS_CREDENTIALS = """\
[Service]
Type=oneshot
User=reportd
LoadCredential=secrets:/etc/reportd/secrets
ExecStart=/opt/reportd/bin/python3 -c "import os; from pathlib import Path; \\
    from reportd.config.secrets import SecretsFolder; \\
    s = SecretsFolder.of(Path('/etc/reportd/secrets'), os.environ); \\
    print('reads', s.read('acme-emea').reveal())"
"""

HOLDS_CREDENTIALS = """\
[Service]
User=reportd
LoadCredential=secrets:/etc/reportd/secrets
ExecStart=sleep infinity
ExecReload=true
"""

METADATA = "169.254.169.254"
"""Where a cloud's metadata service is; here it is one more address of the lab's loopback."""
REACH = "/usr/local/lib/reach.py"
REACH_TEXT = f"""\
import socket

for host in ("127.0.0.1", "{METADATA}"):
    with socket.socket(type=socket.SOCK_DGRAM) as line:
        try:
            line.sendto(b"", (host, 80))
        except PermissionError:
            print("may not reach", host)
        else:
            print("reaches", host)
"""
REACHES = f"""\
[Service]
Type=oneshot
ExecStart=
ExecStart=/opt/reportd/bin/python3 {REACH}
"""


@pytest.fixture(scope="module")
def lab(
    make_common_lab: MakeLab, packages: Packages, tmp_path_factory: pytest.TempPathFactory
) -> Lab:
    """Give a lab with both packages, configured for nothing."""
    folder = tmp_path_factory.mktemp("parts")
    enqueue = repacked(packages.enqueue, "0", folder, without=BULK)
    parts = {"/parts": folder, **java_folders()}
    lab = make_common_lab("units", folders=parts, private_network=True)
    # PySpark is not looked at here; the version is not the daemon's
    lab.install(packages.reportd, java_package(folder))
    lab.install(enqueue, more=("--force-depends",))
    return lab


@pytest.mark.parametrize("unit", ["reportd.service", "reportd-enqueue@daily.service"])
def test_exposure(lab: Lab, unit: str) -> None:
    """What an attacker in the process could do to the VM is next to nothing."""
    said = lab.run("systemd-analyze", "security", unit)

    found = re.search(rf"exposure level for {re.escape(unit)}: (\d+\.\d+)", said)
    assert found, said
    print(f"{unit}: exposure {found[1]}")
    assert float(found[1]) <= MOST_EXPOSED, said


def test_systemd_understands_every_line(lab: Lab) -> None:
    """No setting is misspelled or in the wrong section."""
    said = lab.run(
        *("systemd-analyze", "verify", "--man=no"),
        *("reportd.service", "reportd-enqueue@daily.service", "reportd.slice"),
    )

    assert said == ""


@pytest.mark.parametrize("unit", ["reportd.service", "reportd-enqueue@daily.service"])
def test_keys_of_the_cloud_are_out_of_reach(lab: Lab, unit: str) -> None:
    """A metadata service is denied, until a drop-in allows it as docs/operations.rst says."""
    lab.run("ip", "address", "replace", f"{METADATA}/32", "dev", "lo")
    lab.write(REACH, REACH_TEXT)
    lab.drop_in(unit, REACHES, "60-reaches")
    lab.systemctl("start", unit)
    lab.says("reaches 127.0.0.1", unit)
    lab.says(f"may not reach {METADATA}", unit)

    lab.drop_in(unit, f"[Service]\nIPAddressAllow={METADATA}\n", "70-allowed")
    lab.systemctl("start", unit)
    lab.shell(f"rm /etc/systemd/system/{unit}.d/[67]0-*.conf; systemctl daemon-reload")

    lab.says(f"reaches {METADATA}", unit)


def test_timer_wants_a_calendar(lab: Lab) -> None:
    """A timer that `reportctl schedule apply` has not written refuses; with one it elapses."""
    refused = lab.tries("systemctl", "start", "reportd-enqueue@none.timer")
    lab.drop_in("reportd-enqueue@daily.timer", "[Timer]\nOnCalendar=*-*-* 04:00 Europe/Zurich\n")
    lab.systemctl("start", "reportd-enqueue@daily.timer")

    assert refused.returncode != 0
    shown = lab.show("reportd-enqueue@daily.timer", "ActiveState", "Persistent", "Unit")
    assert shown == {
        "ActiveState": "active",
        "Persistent": "yes",
        "Unit": "reportd-enqueue@daily.service",
    }


def test_fresh_install_is_quiet(lab: Lab) -> None:
    """Nobody has configured it: not enabled; started by hand it says what to do, once."""
    assert lab.tries("systemctl", "is-enabled", "reportd").stdout.strip() == "disabled"

    lab.tries("systemctl", "start", "reportd")

    shown = lab.show("reportd", "ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    lab.says("no partner; put one file a partner there")


def test_secrets_folder_is_missing(lab: Lab) -> None:
    """What systemd cannot hand over ends the start with 243, and is not tried again."""
    lab.run("mv", SECRETS, f"{SECRETS}.away")
    try:
        lab.tries("systemctl", "start", "reportd")
        shown = lab.show("reportd", "ActiveState", "ExecMainStatus", "NRestarts")
    finally:
        lab.run("mv", f"{SECRETS}.away", SECRETS)

    assert shown == {"ActiveState": "failed", "ExecMainStatus": "243", "NRestarts": "0"}
    lab.says("Failed to set up credentials", unit="")


def test_default_output_stays_the_daemons(lab: Lab) -> None:
    """At each start systemd gives it back, and all that is in it: docs/output.rst says so."""
    output, file = "/var/lib/reportd/output", "/var/lib/reportd/output/orders.csv"
    lab.shell(
        f"groupadd --force analysts; install -d -o reportd -g analysts -m 2750 {output}\n"
        f"install -o reportd -g analysts /dev/null {file}"
    )
    lab.tries("systemctl", "start", "reportd")

    of_output, of_file = lab.run("stat", "-c", "%a %U:%G", output, file).splitlines()
    assert (of_output, of_file.split()[1]) == ("750 reportd:reportd", "reportd:reportd")


def test_adding_a_secret_is_dropping_a_file(lab: Lab) -> None:
    """A file that only root can read reaches the daemon's user by its name."""
    lab.write("/etc/systemd/system/shows.service", SHOWS_CREDENTIALS)
    lab.write(f"{SECRETS}/acme-emea", "token of emea\n", mode=0o600)
    lab.run("systemctl", "daemon-reload")

    lab.systemctl("start", "shows.service")

    lab.says("reads token of emea", "shows")


def test_changed_secret_takes_a_restart(lab: Lab) -> None:
    """Until then the service has the one before: a reload does not load it again."""
    handed_over = "/run/credentials/holds.service/secrets_key"
    lab.write("/etc/systemd/system/holds.service", HOLDS_CREDENTIALS)
    lab.write(f"{SECRETS}/key", "one", mode=0o600)
    lab.run("systemctl", "daemon-reload")
    lab.systemctl("start", "holds.service")
    lab.write(f"{SECRETS}/key", "two", mode=0o600)

    lab.systemctl("reload", "holds.service")
    reloaded = lab.read(handed_over)
    lab.systemctl("restart", "holds.service")
    restarted = lab.read(handed_over)
    lab.systemctl("stop", "holds.service")

    assert (reloaded, restarted) == ("one", "two")


def test_encrypted_secrets(lab: Lab) -> None:
    """A folder of files that systemd-creds has encrypted works the same way."""
    encrypted = "/etc/reportd/secrets.encrypted"
    lab.write("/etc/systemd/system/shows.service", SHOWS_CREDENTIALS)
    lab.shell(
        f"mkdir -p -m 700 {encrypted}; rm -f {SECRETS}/acme-emea\n"
        "printf 'encrypted token\\n' | systemd-creds encrypt --with-key=host"
        f" --name=secrets_acme-emea - {encrypted}/acme-emea"
    )
    lab.drop_in(
        "shows.service",
        f"[Service]\nLoadCredential=\nLoadCredentialEncrypted=secrets:{encrypted}\n",
        "encrypted",
    )

    lab.systemctl("start", "shows.service")

    lab.says("reads encrypted token", "shows")


def test_only_the_user_sees_the_configuration_folder_of_secrets(lab: Lab) -> None:
    """Secrets are root's alone; everything else of the folder is for the daemon to read."""
    shown = lab.run("stat", "-c", "%n %a %U", "/etc/reportd", SECRETS, "/etc/reportd/reportd.toml")

    assert shown.splitlines() == [
        "/etc/reportd 755 root",
        f"{SECRETS} 700 root",
        "/etc/reportd/reportd.toml 644 root",
    ]
