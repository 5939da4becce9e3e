"""What is said of fields, for those who ask."""

import subprocess
import sys

from reportd.config.base import Section
from reportd.config.docstrings import field_texts

START = """
import linecache
import reportd.daemon.wiring
print(*(name for name in linecache.cache if "/reportd/" in name))
"""


class Base(Section):
    """A table."""

    both: int = 1
    """Said of the base."""
    silent: int = 2


class Derived(Base):
    """Another one."""

    own: int = 3
    """Two lines

    and a half.
    """
    both: int = 4
    """Said anew."""


def test_texts_below_fields_are_read_from_the_source() -> None:
    """Inherited ones too; the nearest counts."""
    assert field_texts(Derived) == {"both": "Said anew.", "own": "Two lines\n\nand a half."}


def test_the_daemon_does_not_read_its_own_source() -> None:
    """It took a fifth of the start: pages are made from it, nothing else."""
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)

    assert done.stdout == "\n"
