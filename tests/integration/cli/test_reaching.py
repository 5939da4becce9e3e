"""A person who asks a Kafka that is not there is told so at once, in words, by every command."""

from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.errors import EXIT_UNAVAILABLE
from tests.loopback import free_port

PARTNER = """
hosts = ["api.acme.com"]
[reports.campaigns]
get = "https://api.acme.com/v2/{{ account.id }}/stats"
rows = "data[]"
columns = { clicks = "int64" }
"""
SCHEDULE = """
calendar = "daily"
accounts = { table = "accounts" }
[[ask]]
report = "acme.campaigns"
days = "1"
"""
RUN = "daily/2026-11-22T04:00Z"


@pytest.mark.parametrize(
    "words",
    [
        "runs",
        f"rerun {RUN}",
        "plan daily",
        f"plan {RUN}",
        "dead list",
        "requests --account 1",
        "lag",
        "pause acme",
        "resume acme",
        f"cancel {RUN}",
        "controls",
        "backfill acme campaigns --from 2026-11-01 --to 2026-11-02 --accounts all",
    ],
)
def test_no_kafka_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: str
) -> None:
    """And 75; the client's own language, on the standard error of its library, is not heard."""
    for name, text in (("partners/acme", PARTNER), ("schedules/daily", SCHEDULE)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.toml").write_text(text)
    kafka = f"127.0.0.1:{free_port()}"
    config = tmp_path / "reportd.toml"
    config.write_text(
        f'kafka = {{ servers = "{kafka}" }}\noutput = {{ root = "out" }}\n'
        f'metrics = {{ listen = "127.0.0.1:{free_port()}" }}\n'
    )

    status = reportctl.main([*words.split(), "--config", str(config)])

    said = (
        f"no Kafka can be reached ({kafka}: Connection refused): does it run, and is"
        " kafka.servers right?\n"
    )
    assert (EXIT_UNAVAILABLE, said) == (status, capfd.readouterr().err)
