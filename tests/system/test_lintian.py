"""The Debian packages are what Debian's own checker expects; each exception has its reason."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.lab.lab import build_packages

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize("package", ["reportd", pytest.param("enqueue", marks=pytest.mark.soak)])
def test_lintian(package: str) -> None:
    """No errors, and no override that nothing needs."""
    if shutil.which("lintian") is None:
        pytest.skip("needs the Debian package lintian, which set-up installs when it is root")
    checked: Path = getattr(build_packages(), package)
    done = subprocess.run(
        [
            *("lintian", "--allow-root", "--fail-on=error", "--display-info"),
            "--tag-display-limit=10",
            str(checked),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    print(done.stdout)
    assert done.returncode == 0, done.stdout
    assert "unused-override" not in done.stdout
