"""Read ``reportd.toml`` and what lies in ``conf.d`` beside it; all or nothing.

Called by the daemon at start and at reload, and by the tools. Reads files, changes nothing.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from reportd.config.base import Origin
from reportd.config.merging import Merged
from reportd.config.problems import problems_of
from reportd.config.secrets import SecretsFolder
from reportd.config.settings import Settings
from reportd.errors import ConfigError

CATALOGUE = Path(__file__).parents[1] / "partners" / "catalogue"
"""The partners that come with reportd: what files of the partners' folder may extend."""

MAX_FILE_BYTES = 4 * 1024 * 1024
_OWN = (("workers", "machine_id"), ("metrics", "listen"))
"""What each VM may have its own way."""


@dataclass(frozen=True, slots=True)
class Config:
    """A loaded configuration."""

    settings: Settings
    path: Path
    """The file it was loaded from."""
    config_hash: str
    """16 hex digits: equal on VMs that would do the same: settings and partners, but not what is a
    VM's own (``machine_id``, ``metrics.listen``)."""
    secrets: SecretsFolder = field(repr=False)

    @property
    def base(self) -> Path:
        """The folder of the file: relative paths start there."""
        return self.path.parent


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the other files lie."""

    partners: Path
    schedules: Path
    secrets: SecretsFolder = field(repr=False)


def load(
    path: Path, environ: Mapping[str, str] = os.environ, catalogue: Path = CATALOGUE
) -> Config:
    """Load a configuration.

    Raises `ConfigError` with every problem of every file, each as ``file: section.key: ...``.
    """
    path = path.absolute()
    merged = Merged(path)
    problems: list[str] = []
    for each in _files(path):
        try:
            merged.add(each, read_toml(each))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    secrets = _secrets_folder(merged.data, path.parent, environ)
    try:
        settings = Settings.model_validate(merged.data, context=Origin(path.parent, secrets))
    except ValidationError as error:
        raise ConfigError(*problems_of(error, Settings, merged.file_of)) from None
    config_hash = _hash(merged.data, settings.partners_folder, catalogue)
    return Config(settings, path, config_hash, secrets)


def folders(path: Path, environ: Mapping[str, str] = os.environ) -> Folders | None:
    """Return where the other files lie although `load` failed: they have problems of their own.

    None: the file is not there, or not TOML.
    """
    path = path.absolute()
    merged = Merged(path)
    for each in _files(path):
        try:
            merged.add(each, read_toml(each))
        except ConfigError:
            if each == path:
                return None

    def named(setting: str) -> Path:
        found = merged.data.get(setting)
        return path.parent / (found if isinstance(found, str) else _default_folder(setting))

    return Folders(
        named("partners_folder"),
        named("schedules_folder"),
        _secrets_folder(merged.data, path.parent, environ),
    )


def _files(path: Path) -> tuple[Path, ...]:
    return path, *sorted((path.parent / "conf.d").glob("*.toml"))


def _default_folder(setting: str) -> Path:
    found: Path = Settings.model_fields[setting].default
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read one TOML file; raises `ConfigError` naming the file, the line, and what to do."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes; split or shorten it")
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; create it or name another") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not TOML: nested too deeply") from None


def _secrets_folder(
    data: Mapping[str, Any], base: Path, environ: Mapping[str, str]
) -> SecretsFolder:
    """Return where secrets are read, before the settings that need them are checked."""
    named = data.get("secrets_folder")
    folder = named if isinstance(named, str) else _default_folder("secrets_folder")
    return SecretsFolder.of(base / folder, environ)


def _hash(data: Mapping[str, Any], partners_folder: Path, catalogue: Path) -> str:
    shared = dict(data)
    for section, own in _OWN:
        if isinstance(shared.get(section), dict):
            others = {k: v for k, v in shared.pop(section).items() if k != own}
            shared |= {section: others} if others else {}
    digest = hashlib.sha256(orjson.dumps(shared, option=orjson.OPT_SORT_KEYS))
    for part in _partner_files(partners_folder, catalogue):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _partner_files(folder: Path, catalogue: Path) -> Iterator[bytes]:
    """Yield names and contents of a folder's files, and of those of the catalogue they extend."""
    for path in sorted(folder.glob("*.toml")):
        yield path.name.encode(errors="surrogateescape")
        content = _content(path)
        yield content
        yield from (_content(each) for each in catalogue.glob("*.toml") if _extends(content, each))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # loading the partners says what is wrong with it


def _extends(content: bytes, base: Path) -> bool:
    try:
        return tomllib.loads(content.decode()).get("extends") == base.stem
    except (ValueError, RecursionError):
        return False
