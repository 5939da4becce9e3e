"""``reportctl top`` on a real terminal, asking a real server of pages."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.observer.web import Web
from tests.integration.observer.test_web import LOCAL, Health
from tests.system.stage import until


@contextmanager
def terminal(config: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Run it on a terminal of its own; give the terminal's other end."""
    ours, its = pty.openpty()
    top = subprocess.Popen(
        [
            *(sys.executable, "-m", "reportd.cli.reportctl"),
            *("top", "--config", str(config), "--every", "0.1"),
        ],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "50"},
    )
    os.close(its)
    os.set_blocking(ours, False)
    try:
        yield ours, top
    finally:
        top.kill()
        top.wait()
        os.close(ours)


def configured(folder: Path, listen: str) -> Path:
    """Write a configuration with an observer's address."""
    (folder / "partners").mkdir()
    config = folder / "reportd.toml"
    config.write_text(
        'kafka = { servers = "127.0.0.1:9" }\n'
        f'output = {{ root = "{folder}" }}\n'
        f'metrics = {{ listen = "{listen}" }}\n'
    )
    return config


def test_it_shows_what_is_new_until_enter(tmp_path: Path) -> None:
    """The status, live; what it shows when nobody answers; Enter ends it."""
    machine = {"machine": "vm-1"}
    health = Health()
    pages = replace(health.pages(), status=lambda: json.dumps(machine).encode())
    web = Web(LOCAL, pages)
    web.start()
    config = configured(tmp_path, web.address)
    said = b""
    with terminal(config) as (ours, top):

        def shows(text: str) -> bool:
            nonlocal said
            try:
                said += os.read(ours, 1 << 16)
            except BlockingIOError:
                return False
            plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode(errors="replace"))
            return text in plain

        until(lambda: shows("vm-1: , NOT READY"), "the status")
        machine["machine"] = "vm-2"
        until(lambda: shows("vm-2: , NOT READY"), "news")
        web.stop()
        until(lambda: shows("no observer at"), "word that nobody answers")
        os.write(ours, b"\n")
        assert top.wait(30) == 0


def test_no_terminal_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs have status --json."""
    config = configured(tmp_path, "127.0.0.1:9")

    assert reportctl.main(["top", "--config", str(config)]) == 1
    assert "reportctl status says it once" in capsys.readouterr().err
