"""The S3 server of the tests: where it cannot be had, that is said, and nothing is left."""

from pathlib import Path

import pytest

from reportd.errors import UnavailableError
from tests.s3server import server_program


@pytest.mark.parametrize(
    ("script", "found"),
    [(None, "none"), ("echo go version go1.19.8 linux/amd64", "go1.19.8"), ("exit 7", "go")],
)
def test_without_a_go_that_can_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, found: str
) -> None:
    """Tests that need it are skipped with this reason: a bare Debian 12 has Go 1.19, or none."""
    programs = tmp_path / "bin"
    programs.mkdir()
    if script:
        go = programs / "go"
        go.write_text(f"#!/bin/sh\n{script}\n")
        go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(UnavailableError, match=found):
        server_program()
    assert not list((tmp_path / "cache").rglob("versitygw*/"))
