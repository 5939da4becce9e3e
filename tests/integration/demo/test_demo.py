"""The demo itself, made small: real broker, Spark, daemon, kills, and the audit."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from reportd.demo.files import final_files

KEYS = {
    "requests",
    "results",
    "dead_letters",
    "files",
    "rows",
    "calls",
    "finished_calls_repeated",
    "throttled",
    "limit_used",
    "seconds",
}


@pytest.mark.timeout(300)
def test_a_small_demo_keeps_every_promise(tmp_path: Path) -> None:
    """A worker and the whole daemon are killed; nothing is lost, doubled or asked again."""
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "reportd.demo", "--folder", str(folder), "--scale", "0.15"]
    done = subprocess.run(
        [*command, "--seconds-limit", "240"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every promise was kept" in done.stdout
    assert "SIGKILL for worker" in done.stdout
    assert "SIGKILL for the whole daemon" in done.stdout
    summary = orjson.loads((folder / "summary.json").read_bytes())
    assert summary.keys() == KEYS
    assert summary["requests"] == summary["results"] + summary["dead_letters"]
    assert (summary["dead_letters"], summary["finished_calls_repeated"]) == (6, 0)
    assert len(list(final_files(folder / "output"))) == summary["files"] > 0
    assert not (folder / "kafka").exists()
