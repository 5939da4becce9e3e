"""Without Debian packages: ``pip install .`` and ``pipx install .`` give the same programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("reportd", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a copy of what is installed: builds leave things beside the source."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy)
    return copy


def ran(*command: str | Path, **environment: str) -> str:
    """Run a command that must end with 0."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def works(programs: Path, **environment: str) -> None:
    """See that each program starts, and that the example of a configuration is right."""
    for name in ("reportd", "reportctl", "reportd-enqueue"):
        assert "usage:" in ran(programs / name, "--help", **environment)
    command = ("check", "--config", ROOT / "etc" / "reportd.toml")
    assert "reportd.toml: right" in ran(programs / "reportctl", *command, **environment)


def files_of(package: Path) -> set[Path]:
    """Return all files of a package but compiled ones."""
    files = (path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(package) for path in files}


def test_pip_without_a_network(checkout: Path, tmp_path: Path) -> None:
    """What is installed is all of it, and enough: programs, modules, the files beside them."""
    where = tmp_path / "where"
    ran(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
        *("--no-build-isolation", "--target", where, checkout),
    )

    assert files_of(checkout / "reportd") == files_of(where / "reportd")
    path = {"PYTHONPATH": str(where)}
    said = ran(sys.executable, "-P", "-c", "import reportd; print(reportd.__file__)", **path)
    assert str(where) in said
    works(where / "bin", **path)


@pytest.mark.soak
@pytest.mark.registry
@pytest.mark.timeout(600)
def test_pip(checkout: Path, tmp_path: Path) -> None:
    """A fresh environment and one command."""
    ran(sys.executable, "-m", "venv", tmp_path / "venv")

    ran(tmp_path / "venv" / "bin" / "pip", "install", "--quiet", checkout)

    works(tmp_path / "venv" / "bin")


@pytest.mark.soak
@pytest.mark.registry
@pytest.mark.timeout(600)
def test_pipx(checkout: Path, tmp_path: Path) -> None:
    """The same with pipx, which links the programs into a folder of its own."""
    pipx = shutil.which("pipx")
    if pipx is None:
        pytest.skip("needs the Debian package pipx, which set-up installs when it is root")
    homes = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}

    ran(pipx, "install", checkout, **homes)

    works(tmp_path / "bin")
