"""The systemd units fit the program: exit codes, times, and the same walls around both."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from reportd.config.settings import Settings, WorkerSettings
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE
from reportd.supervisor.loop import STOP_MARGIN_SECONDS

_SYSTEMD = Path(__file__).parents[2] / "systemd"
_SERVICES = ["reportd.service", "reportd-enqueue@.service"]
_EXIT_CREDENTIALS = 243
"""systemd's own, when what LoadCredential= names cannot be loaded."""


_WALLS = re.compile(
    "Protect|Private|Restrict(?!P)|SystemCall|Cap|Ambient|NoNew|Lock|Memory|Remove|UMask|User|Group|Device"
    "|IPAddress|Keyring|LoadCred|LimitCORE|Slice"
)


def _unit(name: str) -> Mapping[str, str]:
    """Return a unit's settings; one that stands there twice has both values, with a space."""
    found: dict[str, str] = {}
    for line in (_SYSTEMD / name).read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found[match[1]] = f"{found.get(match[1], '')} {match[2]}".strip()
    return found


def test_stop_has_time_to_drain() -> None:
    """A drain by the default settings ends before systemd loses patience."""
    drain = WorkerSettings().drain_seconds + 2 * STOP_MARGIN_SECONDS

    assert int(_unit("reportd.service")["TimeoutStopSec"]) > drain


@pytest.mark.parametrize("name", _SERVICES)
def test_only_what_can_mend_itself_is_tried_again(name: str) -> None:
    """A wrong configuration is not tried again; something that is away is, for ever."""
    unit = _unit(name)
    prevented = [int(status) for status in unit["RestartPreventExitStatus"].split()]

    assert prevented == [EXIT_CONFIG, _EXIT_CREDENTIALS]
    assert EXIT_UNAVAILABLE not in prevented
    assert unit["Restart"] == "on-failure"
    assert unit["StartLimitIntervalSec"] == "0"
    # RestartPreventExitStatus= is about the main process: what fails before it is tried for ever
    assert "ExecStartPre" not in unit


@pytest.mark.parametrize("name", _SERVICES)
def test_programs_read_the_default_configuration(name: str) -> None:
    """What a unit starts and what an administrator starts by hand are the same."""
    commands = [value for key, value in _unit(name).items() if key.startswith("Exec")]

    assert commands
    assert all(" --config /etc/reportd/reportd.toml " in f"{command} " for command in commands)


def test_both_services_have_the_same_walls() -> None:
    """What keeps one in keeps the other in, apart from what one of them cannot bear."""
    daemon, enqueuer = (
        {key: value for key, value in _unit(name).items() if _WALLS.match(key)}
        for name in _SERVICES
    )

    # Java compiles as it runs; the output's groups are more than one, and folders hand them on
    allowed = daemon.pop("SystemCallFilter")
    assert allowed == f"{enqueuer.pop('SystemCallFilter')} fchown"
    assert dict(daemon.items() - enqueuer.items()) == {"MemoryDenyWriteExecute": "yes"}
    assert dict(enqueuer.items() - daemon.items()) == {
        "PrivateUsers": "yes",
        "RestrictSUIDSGID": "yes",
    }


def test_secrets_are_those_of_the_default_folder() -> None:
    """What LoadCredential= hands over is what the configuration would read by itself."""
    loaded = _unit("reportd.service")["LoadCredential"]

    folder = Settings.model_fields["secrets_folder"].default
    assert loaded == f"secrets:/etc/reportd/{folder}"
