"""Which partner is meant: a file, one of the configuration's, or one of the catalogue.

Used by the actions of ``reportctl partner``. They work where nothing is installed yet: without a
configuration there is the catalogue, and whatever file is named.
"""

from dataclasses import dataclass, field
from pathlib import Path

from reportd.config.load import CATALOGUE, folders
from reportd.config.problems import did_you_mean
from reportd.config.secrets import SecretsFolder
from reportd.errors import ConfigError
from reportd.partners.extending import catalogue_files


@dataclass(frozen=True, slots=True)
class Place:
    """Where partners and their secrets are looked for."""

    own: Path | None
    """The configuration's folder of partners; None: there is no configuration."""
    secrets: SecretsFolder | None = field(repr=False)
    catalogue: Path = CATALOGUE

    def own_files(self) -> dict[str, Path]:
        """Return the configuration's files by the partners' names."""
        return (
            {}
            if self.own is None
            else {path.stem: path for path in sorted(self.own.glob("*.toml"))}
        )

    def find(self, name: str) -> Path:
        """Return the file of a name, or a path as it is; raises `ConfigError` with a hint."""
        if "/" in name or name.endswith(".toml"):
            return Path(name)
        known = catalogue_files(self.catalogue) | self.own_files()
        if name not in known:
            where = f"{self.own} and the catalogue" if self.own else "the catalogue"
            raise ConfigError(
                f"there is no partner {name[:64]!r} in {where}; {did_you_mean(name, known)}"
                " (a file is named with its .toml)"
            )
        return known[name]


def place_of(config: Path, catalogue: Path = CATALOGUE) -> Place:
    """Return where a configuration looks, even if there is none or it is wrong."""
    found = folders(config)
    if found is None:
        return Place(None, None, catalogue)
    return Place(found.partners, found.secrets, catalogue)
