"""Tables in the room that a terminal has."""

import pytest
from rich.console import Console

from reportd.cli import showing

COLUMNS = ("run", "requests", "open at most", "files")
RUN = "daily/2026-11-22T04:00Z#1"
FILE = f"acme/campaigns/date=2026-11-21/{'x' * 40}.parquet"


def shown(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """Return the lines of a table in a terminal of so many columns."""
    monkeypatch.setattr(showing, "console", lambda: Console(width=width))
    showing.show_table(COLUMNS, [(RUN, 1234, 5, FILE), (RUN, 1, None, "a b")])
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("width", [135, 145, showing.PIPE_COLUMNS])
def test_no_word_is_broken_where_there_is_room(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head is broken into its words before a run's name or a path is."""
    lines = shown(width, monkeypatch, capsys)

    assert sum(RUN in line for line in lines) == 2
    assert sum(FILE in line for line in lines) == 1
    assert any(line.split() == [RUN, "1", "a", "b"] for line in lines)
    assert any("open at most" in line for line in lines) == (width > 140)


@pytest.mark.parametrize("width", [40, 80])
def test_where_there_is_none_each_value_has_a_line(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole, however long: the terminal breaks it. What is empty is left out."""
    assert shown(width, monkeypatch, capsys) == [
        "",
        f"  run           {RUN}",
        "  requests      1,234",
        "  open at most  5",
        f"  files         {FILE}",
        "",
        f"  run           {RUN}",
        "  requests      1",
        "  files         a b",
        "",
    ]
