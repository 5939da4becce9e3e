"""Files laid over each other: ``conf.d`` over ``reportd.toml``, a partner's over the catalogue's.

Pure; used when a configuration is loaded, by every program.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reportd.config.problems import Location


class Merged:
    """Several files as one table, and which file each key came from."""

    def __init__(self, first: Path) -> None:
        """Take the file that problems are laid to when no file says anything near them."""
        self.data: dict[str, Any] = {}
        self._first = first
        self._files: dict[Location, Path] = {}

    def add(self, path: Path, data: Mapping[str, Any]) -> None:
        """Lay a file over what is there: tables are merged, anything else is replaced."""
        self._lay(self.data, data, path, ())

    def file_of(self, location: Location) -> Path:
        """Return the file that a location, or the nearest thing around it, stands in."""
        for length in range(len(location), 0, -1):
            if location[:length] in self._files:
                return self._files[location[:length]]
        return self._first

    def _lay(self, onto: dict[str, Any], data: Mapping[str, Any], path: Path, at: Location) -> None:
        for key, value in data.items():
            here: Location = (*at, key)
            self._files[here] = path
            there = onto.get(key)
            if isinstance(value, dict) and not ({"secret"} & (value.keys() | _keys(there))):
                onto[key] = there if isinstance(there, dict) else {}
                self._lay(onto[key], value, path, here)
            else:
                onto[key] = value


def _keys(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()
