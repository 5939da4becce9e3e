"""What people read about the settings is what the program does."""

import re
import tomllib
from pathlib import Path

import pytest

from reportd.config.accounts import AccountsSource
from reportd.config.load import load
from reportd.config.reference import table_of, undescribed
from reportd.config.render import rendered
from reportd.config.schedule import ScheduleSettings, load_schedule
from reportd.config.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", list(rendered()), ids=str)
def test_rendered_files_are_current(path: Path) -> None:
    """Run `python -m reportd.config.render` after changing a declaration."""
    assert (ROOT / path).read_text(encoding="utf-8") == rendered()[path]


@pytest.mark.parametrize("model", [Settings, ScheduleSettings, AccountsSource])
def test_every_setting_is_described(
    model: type[Settings] | type[ScheduleSettings] | type[AccountsSource],
) -> None:
    """A setting without a sentence is not finished."""
    assert list(undescribed(table_of(model))) == []


def test_the_sample_is_a_valid_configuration(tmp_path: Path) -> None:
    """As it is, it loads, and what it leaves out is the default."""
    file = tmp_path / "reportd.toml"
    file.write_text(rendered()[Path("etc/reportd.toml")])
    minimal = tmp_path / "minimal.toml"
    minimal.write_text(
        'kafka = { servers = "localhost:9092" }\noutput = { root = "/var/lib/reportd/output" }'
    )

    assert load(file, {}).settings == load(minimal, {}).settings


def test_what_the_sample_comments_out_is_valid(tmp_path: Path) -> None:
    """Every line that is uncommented works; those that are no examples change nothing."""
    (tmp_path / "secrets").mkdir()
    for name in ("kafka", "metrics", "s3-access-key", "s3-secret-key", "webhook"):
        (tmp_path / "secrets" / name).write_text("x")
    text = rendered()[Path("etc/reportd.toml")]
    file = tmp_path / "reportd.toml"
    file.write_text(text)
    before = load(file, {}).settings
    file.write_text(re.sub(r"(?m)^#(?=[^ ])", "", text))
    after = load(file, {}).settings

    assert after.workers.machine_id == "vm-1"
    assert after.metrics.tls is not None
    assert after.output.s3 is not None
    assert after.runs.command == ("/usr/local/bin/after-reportd", "daily")
    examples = {"kafka": before.kafka, "metrics": before.metrics, "runs": before.runs}
    assert (after.output.group, after.output.folder_mode) == ("analysts", "2750")
    workers = after.workers.model_copy(update={"machine_id": None})
    output = after.output.model_copy(update={"group": None, "folder_mode": None, "s3": None})
    update = {**examples, "workers": workers, "output": output}
    assert after.model_copy(update=update) == before


def test_the_sample_schedule_is_valid(tmp_path: Path) -> None:
    """It loads as it is, and with every line uncommented."""
    text = rendered()[Path("etc/schedules/daily.toml")]
    file = tmp_path / "daily.toml"
    file.write_text(text)
    schedule = load_schedule(file)
    file.write_text(re.sub(r"(?m)^#(?=[^ ])", "", text))

    assert schedule.settings.ask[0].formats == ("parquet", "csv.gz")
    assert load_schedule(file).settings.ask[0].split_days == 7
    assert tomllib.loads(text)["deadline"] == "07:00 Europe/Zurich"
