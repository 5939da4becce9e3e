"""`reportd-enqueue`'s command line; what it does is tested with Spark."""

import subprocess
import sys

import pytest

from reportd.errors import EXIT_CONFIG

WITHOUT_PYSPARK = """
import sys
sys.modules["pyspark"] = None
from reportd.cli.enqueue import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("argument", "status", "said"),
    [("--help", 0, "--dry-run"), ("daily", EXIT_CONFIG, "pip install '.[enqueue]'")],
)
def test_a_machine_without_pyspark_is_told_what_to_install(
    argument: str, status: int, said: str
) -> None:
    """The daemon's VMs have no PySpark: help works there, anything else is one clear line."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYSPARK, argument],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert status == done.returncode
    assert said in done.stdout
    assert "Traceback" not in done.stdout
