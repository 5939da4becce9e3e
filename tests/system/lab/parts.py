"""Packages made for tests: ours under another version, and this machine's Java for a lab."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.system.lab.lab import ROOT

JAVA_PACKAGE = """\
Package: java-of-this-machine
Version: 1
Architecture: all
Maintainer: The reportd team <reportd@example.com>
Provides: java17-runtime-headless
Description: the Java of the machine that the lab runs on
"""


EARLIER = "f1f57609d92290e21971d8f3771e07dc14d2e61c"
"""A commit for upgrades and downgrades across a change of the program: the first one that could be
packaged. Its program knows nothing of most of what today's does; records, topics and the group
are what the two have in common."""

BULK = ("*/pyarrow/*", "*/pyspark/*")
"""What is large in our packages, and all the same to dpkg: half a minute for each test of it."""


def earlier_program() -> str:
    """Return `EARLIER`; empty where there is no such commit, as in a shallow clone.

    There, today's program has to do for the one before: under another number. ``.ci/run`` says so.
    """
    asked = ("git", "-C", str(ROOT), "cat-file", "-e", f"{EARLIER}^{{commit}}")
    known = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    return EARLIER if known else ""


def repacked(
    deb: Path, version: str, folder: Path, *, without: Sequence[str] = (), program: str = ""
) -> Path:
    """Return a package with the same content and scripts under another version.

    Two versions of one source differ in their numbers alone; building a second one would take a
    minute. ``without``: patterns of files to leave out. ``program``: a commit to take the daemon's
    own code and its conffile from, as ``build-deb --of`` does.
    """
    tree = folder / f"{deb.stem}-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    _run("dpkg-deb", "--control", str(deb), str(tree / "DEBIAN"))
    left_out = " ".join(f"--exclude='{pattern}'" for pattern in without)
    _run("sh", "-c", f"dpkg-deb --fsys-tarfile '{deb}' | tar -xC '{tree}' {left_out}")
    if program:
        _replace_program(tree, program)
    control = tree / "DEBIAN" / "control"
    before = _field(deb, "Version")
    text = control.read_text().replace(f"Version: {before}\n", f"Version: {version}\n")
    control.write_text(text.replace(f"reportd (= {before})", f"reportd (= {version})"))
    return _packed(tree, folder / f"{_field(deb, 'Package')}_{version}.deb")


def _replace_program(tree: Path, commit: str) -> None:
    (site,) = (tree / "opt" / "reportd" / "lib").glob("python3*/site-packages")
    shutil.rmtree(site / "reportd")
    _run("sh", "-c", f"git -C '{ROOT}' archive {commit} reportd | tar -xC '{site}'")
    conffile = _run("git", "-C", str(ROOT), "show", f"{commit}:etc/reportd.toml")
    (tree / "etc" / "reportd" / "reportd.toml").write_text(conffile)
    # Where it will lie: tracebacks name files as they were called when they were compiled
    python, installed = f"/usr/bin/{site.parent.name}", str(site / "reportd")
    compiling = ("-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "-s", str(tree))
    _run(python, *compiling, installed)


def java_folders() -> Mapping[str, Path]:
    """Return what a lab has to see of this machine for `java_package` to work: `Lab.folders`."""
    home = _java().parents[1]
    # Debian's is in /etc, and the home has links to it
    configuration = (home / "conf" / "security" / "java.security").resolve().parents[1]
    return {str(folder): folder for folder in (home, configuration)}


def java_package(folder: Path) -> Path:
    """Return a package that has ``java`` and provides what reportd-enqueue depends on.

    Debian's own would have to be fetched, with 200 MB to unpack for each lab.
    """
    tree = folder / "java"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(JAVA_PACKAGE)
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "java").symlink_to(_java())
    return _packed(tree, folder / "java.deb")


def _java() -> Path:
    found = shutil.which("java")
    assert found, "set-up sees to a java"
    return Path(found).resolve()


def _packed(tree: Path, deb: Path) -> Path:
    _run("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb))
    shutil.rmtree(tree)
    return deb


def _field(deb: Path, name: str) -> str:
    return _run("dpkg-deb", "--field", str(deb), name).strip()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
