"""Partner files as they are meant: a file that extends one of the catalogue, laid over it.

``extends = "meta"`` begins with ``catalogue/meta.toml``: tables are merged, so ``columns`` gain;
anything else (lists too) is replaced; ``false`` takes away what the catalogue says, unless that is
itself true or false. Steps are laid over those of the same name, so that a field can be added to
what one asks for; a list with a step of another name replaces them all. Rules of a kind that the
catalogue's file does not have come first.

Reads files, changes nothing; used by `reportd.partners.load` and by the tools.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportd.config.load import CATALOGUE, read_toml
from reportd.config.merging import Merged
from reportd.config.problems import Location, did_you_mean
from reportd.errors import ConfigError
from reportd.partners.spec import RULE_KINDS


@dataclass(frozen=True, slots=True)
class Source:
    """What a partner file says, with what it extends."""

    path: Path
    data: Mapping[str, Any]
    base: Path | None
    """The file of the catalogue that it extends."""
    merged: Merged

    def where(self, location: Location) -> str:
        """Return where a problem stands: the file, and whether it got it from the catalogue."""
        if self.base is None or self.merged.file_of(location) == self.path:
            return str(self.path)
        return f"{self.path}, from {self.base.stem} of the catalogue"


def read_source(path: Path, catalogue: Path = CATALOGUE) -> Source:
    """Read a partner file and what it extends; raises `ConfigError`."""
    own = read_toml(path)
    merged = Merged(path)
    if "extends" not in own:
        merged.add(path, own)
        return Source(path, merged.data, None, merged)
    base_path = _base(path, own["extends"], catalogue)
    base, own = without_removed(read_toml(base_path), own)
    merged.add(base_path, base)
    merged.add(path, own)
    own_rules = [kind for kind in own if kind in RULE_KINDS and kind not in base]
    data = {kind: merged.data[kind] for kind in own_rules} | merged.data
    return Source(path, data, base_path, merged)


def catalogue_files(catalogue: Path = CATALOGUE) -> dict[str, Path]:
    """Return the catalogue's files by the partners' names."""
    return {path.stem: path for path in sorted(catalogue.glob("*.toml"))}


def without_removed(
    base: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both tables without what ``false`` in the second takes away from the first."""
    kept_base, kept_own = dict(base), dict(own)
    for key, value in own.items():
        there = base.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            kept_base[key], kept_own[key] = without_removed(there, value)
        elif key == "steps" and step_names(value) and step_names(value) <= step_names(there):
            kept_own[key] = [
                next((_laid(old, new) for new in value if new["name"] == old["name"]), old)
                for old in base[key]
            ]
        elif value is False and key in base and not isinstance(there, bool):
            del kept_base[key], kept_own[key]
    return kept_base, kept_own


def step_names(steps: Any) -> set[str]:
    """Return the names of a list of steps; none, if it is not one."""
    named = isinstance(steps, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in steps
    )
    return {one["name"] for one in steps} if named else set()


def _laid(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    base, own = without_removed(base, own)
    laid = dict(base)
    for key, value in own.items():
        there = laid.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            laid[key] = _laid(there, value)
        else:
            laid[key] = value
    return laid


def _base(path: Path, name: Any, catalogue: Path) -> Path:
    if not isinstance(name, str):
        raise ConfigError(f"{path}: extends: must be text in quotes: a partner of the catalogue")
    files = catalogue_files(catalogue)
    if name not in files:
        hint = did_you_mean(name, files)
        raise ConfigError(f"{path}: extends: the catalogue has no {name[:64]!r}; {hint}")
    return files[name]
