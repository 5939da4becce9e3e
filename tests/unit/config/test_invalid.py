"""One file a kind of mistake, with every line that it earns beside it."""

from pathlib import Path

import pytest

from reportd.config.load import load
from reportd.config.schedule import load_schedule
from reportd.errors import ConfigError

DATA = Path(__file__).parents[2] / "data" / "config"
FILES = sorted(DATA.glob("invalid-*.toml"))


def load_it(path: Path) -> None:
    if path.name.startswith("invalid-schedule-"):
        load_schedule(path)
    else:
        load(path, environ={})


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_mistake_is_named(path: Path) -> None:
    """All problems at once, each with file, key and what to do; never a value that is secret."""
    with pytest.raises(ConfigError) as caught:
        load_it(path)

    said = str(caught.value).replace(f"{DATA}/", "") + "\n"
    assert said == path.with_suffix(".expected").read_text(encoding="utf-8")
    assert "hunter2" not in said


def test_every_expectation_has_its_file() -> None:
    """No message is left behind without the file that earns it."""
    assert sorted(DATA.glob("*.expected")) == [path.with_suffix(".expected") for path in FILES]
