"""What the supervisor writes of its reloads, and what others can read of it."""

from pathlib import Path

import pytest

from reportd.errors import UnavailableError
from reportd.supervisor.reload_file import NAME, ReloadFile, ReloadRecord, runtime_folder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The newest state is there, whole, and nothing else lies beside it."""
    file = ReloadFile(tmp_path, pid=7, pid_started=99)
    file.write(phase="running", asked=1, answered=0)
    file.write(phase="running", asked=1, answered=1, ok=False, problems=["a"])

    expected = ReloadRecord(
        pid=7, pid_started=99, phase="running", asked=1, answered=1, ok=False, problems=("a",)
    )
    assert ReloadRecord.read(tmp_path) == expected
    assert [each.name for each in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": 1}', b"\xff"])
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    """Neither a missing file nor a strange one is a traceback."""
    with pytest.raises(UnavailableError, match="does not run"):
        ReloadRecord.read(tmp_path)
    (tmp_path / NAME).write_bytes(content)

    with pytest.raises(UnavailableError, match=NAME):
        ReloadRecord.read(tmp_path)


def test_runtime_folder_is_systemds() -> None:
    """The first one of several, and none without systemd."""
    assert runtime_folder({"RUNTIME_DIRECTORY": "/run/reportd:/run/more"}) == Path("/run/reportd")
    assert runtime_folder({}) is None
