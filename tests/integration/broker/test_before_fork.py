"""What is done before the forks leaves nothing that a fork would break."""

import subprocess
import sys

PROGRAM = """
import os
from reportd.broker.before_fork import set_up_library
set_up_library()
print(len(os.listdir("/proc/self/task")))
"""


def test_no_thread_and_no_word() -> None:
    """The process that forks has no thread but its own afterwards; nothing is printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    assert ("1\n", "") == (done.stdout, done.stderr)
