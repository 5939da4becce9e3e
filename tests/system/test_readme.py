"""The README's first partner, played: its blocks are typed as they stand, and say what it says."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.loopback import free_port

README = Path(__file__).parents[2] / "README.rst"
PATIENCE_SECONDS = 600.0
"""On a machine that has much else to do; Spark starts three times."""
PLAYED = re.compile(r"^\.\. code-block:: bash\n\n((?:    .*\n|\n)+)", re.MULTILINE)
SHOWN = re.compile(r"^::\n\n((?:    .*\n|\n)+)", re.MULTILINE)
CALL = re.compile(r'"GET (\S+) HTTP/1.1" 200 -')

pytestmark = [pytest.mark.long, pytest.mark.timeout(700)]


def section() -> str:
    """Return the text from the first partner to where it is stopped."""
    text = README.read_text(encoding="utf-8")
    return text.partition("A first partner of your own\n")[2].partition("To run it for good")[0]


def same(text: str) -> list[str]:
    """Return lines without what differs from day to day and from place to place."""
    for pattern, word in (
        (r"\d{4}-\d\d-\d\d", "DAY"),
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"in \d+\.\d+ s", "in S s"),
    ):
        text = re.sub(pattern, word, text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip("─ ")]


def script(ports: dict[str, int], metrics: int) -> str:
    """Return all blocks, at free ports; where people wait for a while, it waits for what comes."""
    text = "\n".join(re.sub("^    ", "", block, flags=re.MULTILINE) for block in played())
    for written, port in ports.items():
        assert written in text
        text = text.replace(written, str(port))
    text = text.replace("kafka kafka &", f"kafka kafka --port {ports['9092']} &")
    # A person types more slowly than both of them start
    heard = (f"(exec 5<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null" for port in ports.values())
    waits = "".join(f"until {one}; do sleep 0.2; done\n" for one in heard)
    text = text.replace("reportctl partner try", f"{waits}reportctl partner try")
    own = f'metrics = {{ listen = "127.0.0.1:{metrics}" }}'
    text = text.replace('output = { root = "files" }', f'output = {{ root = "files" }}\n{own}')
    there = 'until [ "$(ls files/shop/orders/*/* | wc -l)" = 4 ]; do sleep 0.2; done 2>/dev/null'
    ready = 'until grep -q " ready all " reportd.log; do sleep 0.2; done'
    assert text.count("sleep 20\n") == 2
    text = text.replace("sleep 20\n", f"{there}\n{ready}\n")
    return f"set -em\n{text}"


def played() -> list[str]:
    """Return the blocks that are typed."""
    return PLAYED.findall(section())


def test_the_first_partner(tmp_path: Path) -> None:
    """A file each for partner, schedule and accounts, two files of one call, and none repeated."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    ports = {name: free_port() for name in ("9092", "18080")}
    typed = script(ports, free_port())
    with (tmp_path / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "-c", typed],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = shell.wait(PATIENCE_SECONDS)
        finally:
            for line in _session(shell.pid):
                os.kill(line, signal.SIGKILL)
    out = (tmp_path / "said").read_text(encoding="utf-8")
    calls = (tmp_path / "build/first/calls.log").read_text(encoding="utf-8")

    assert status == 0, out
    *shown, called = SHOWN.findall(section())
    assert len(shown) == 2
    for block in shown:
        missing = [line for line in same(block) if line not in same(out)]
        assert missing == [], out
    assert Counter(same("\n".join(CALL.findall(calls)))) == Counter(
        same("\n".join(CALL.findall(called)))
    )


def _session(leader: int) -> list[int]:
    """Return who is left of a session of processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
