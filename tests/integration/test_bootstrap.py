"""Set-up is done once: what is there already is not made again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
MADE_OF = ("packaging", "pyproject.toml", "setup.cfg", "reportd/demo/jars.py")
PYTHON = """\
#!/bin/sh
echo "$*" >>"$TOLD"
case "$*" in *demo.jars) mkdir -p "$JARS"; echo "$JARS" ;; esac
"""


class Checkout:
    """What set-up looks at, with programs that do nothing but write down what they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.jars = folder / "jars"
        self._told = folder / "told"
        self._programs = folder / "programs"
        for name in MADE_OF:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (CHECKOUT / name).is_dir():
                shutil.copytree(CHECKOUT / name, self.folder / name)
            else:
                shutil.copy(CHECKOUT / name, self.folder / name)
        for program in (
            self.folder / ".venv/bin/python",
            *(self._programs / name for name in ("apt-get", "sudo", "systemctl")),
        ):
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(PYTHON)
            program.chmod(0o755)

    def set_up(self) -> tuple[str, list[str]]:
        """Set it up; return what was said, and what programs were told."""
        self._told.write_text("")
        own = {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "TOLD": str(self._told),
            "JARS": str(self.jars),
        }
        done = subprocess.run(
            [self.folder / "packaging/bootstrap"],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + done.stderr, self._told.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Give one that was set up."""
    made = Checkout(tmp_path)
    said, told = made.set_up()
    assert said.endswith("set-up: done\n")
    assert [line for line in told if "install" in line]
    return made


def test_the_second_time_it_does_nothing(checkout: Checkout) -> None:
    """No program is started, nothing is said, no file is touched."""
    before = {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*")}

    assert checkout.set_up() == ("", [])
    assert {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*")} == before


@pytest.mark.parametrize("what", ["a requirement", "the jars", "the stamp"])
def test_what_has_changed_is_made_again(checkout: Checkout, what: str) -> None:
    """Other requirements, or a cache that somebody has emptied."""
    match what:
        case "a requirement":
            with (checkout.folder / "packaging/requirements-dev.txt").open("a") as file:
                file.write("# newer\n")
        case "the jars":
            checkout.jars.rmdir()
        case _:
            (checkout.folder / ".venv/reportd.stamp").unlink()

    said, told = checkout.set_up()

    assert said.endswith("set-up: done\n")
    assert any("install" in line for line in told)
    assert checkout.set_up() == ("", [])
