"""What the demo's exit status says; the demo itself is played in tests/system."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from reportd.demo import demo
from reportd.demo.audit import Broken
from reportd.demo.scene import demo_scene


@contextmanager
def nothing(*_all: Any) -> Iterator[SimpleNamespace]:
    """Stand for all that a demo starts."""
    yield SimpleNamespace(display=SimpleNamespace(close=lambda: None), stops=[])


@pytest.mark.parametrize(
    ("audited", "asked", "status"),
    [
        ([], [], 0),
        ([Broken("nothing is lost", "3 rows are missing")], [], 1),
        ([], [Broken("every request is enqueued once", "1 missing")], 1),
    ],
)
def test_broken_promise_ends_with_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    audited: list[Broken],
    asked: list[Broken],
    status: int,
) -> None:
    """And it is said which; a demo that kept all of them ends with 0."""
    replaced = {
        "set_up": nothing,
        "play": lambda *_: None,
        "collect": lambda _: SimpleNamespace(requests={}),
        "audit": lambda _: audited,
        "_scene_problems": lambda *_: asked,
        "summarize": lambda *_: {"": None},
        "write_summary": lambda *_: None,
        "print_table": lambda *_: None,
        "print_where_to_look": lambda *_: None,
    }
    for name, stand_in in replaced.items():
        monkeypatch.setattr(demo, name, stand_in)
    said = StringIO()
    console = Console(file=said, width=200)

    assert demo.run_demo(tmp_path / "demo", demo_scene(), console, 1.0, keep=True) == status
    for one in [*audited, *asked]:
        assert f"{one.promise}: {one.what}" in said.getvalue()
