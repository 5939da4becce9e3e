"""Where this user's cache of reportd is: what may be lost and is fetched or computed again.

Used by the demo, the tests and the enqueuer, for jars. Touches no file.
"""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/reportd``, by default ``~/.cache/reportd``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "reportd"
