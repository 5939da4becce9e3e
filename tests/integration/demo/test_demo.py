"""The demo itself, made small: real broker, Spark, daemon, kills, and the audit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from reportd.config.cache import cache_folder
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
    """A worker and the whole daemon are killed; nothing is lost, doubled or asked again.

    And nothing is left where nobody asked for it: in the home, in the folder that it was started
    in; in TMPDIR what a killed daemon cannot remove.
    """
    folder = tmp_path / "demo"
    places = {name: tmp_path / name for name in ("home", "here", "temporary")}
    for place in places.values():
        place.mkdir()
    command = [sys.executable, "-m", "reportd.demo", "--folder", str(folder), "--scale", "0.15"]
    done = subprocess.run(
        [*command, "--seconds-limit", "240"],
        cwd=places["here"],
        env={
            **os.environ,
            "HOME": str(places["home"]),
            "TMPDIR": str(places["temporary"]),
            "XDG_CACHE_HOME": str(cache_folder().parent),
        },
        capture_output=True,
        text=True,
        check=False,
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
    assert [*places["home"].iterdir(), *places["here"].iterdir()] == []
    left = {path.name.rpartition("-")[0] for path in places["temporary"].iterdir()}
    assert left <= {"reportd-metrics", "reportd-tokens"}
    (line,) = re.findall(r'\.venv/bin/python -c "(.*)"', done.stdout)
    looked = subprocess.run(
        [sys.executable, "-c", line], capture_output=True, text=True, check=True
    )
    assert "'clicks'" in looked.stdout
