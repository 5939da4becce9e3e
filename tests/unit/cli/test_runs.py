"""``reportctl runs``, before it asks anybody."""

from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.errors import EXIT_CONFIG

_CONFIG = 'kafka = { servers = "127.0.0.1:1" }\n[output]\nroot = "/srv/data"\nshared = true\n'


def test_what_is_no_name_is_refused_before_kafka_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the pen needs no broker, least of all half a minute of waiting for one."""
    config = tmp_path / "reportd.toml"
    config.write_text(_CONFIG)

    status = reportctl.main(["runs", "--config", str(config), "garbage"])

    assert EXIT_CONFIG == status
    assert "garbage: is no run's name" in capsys.readouterr().err
