"""What all parts of the configuration share: a strict, frozen base, and the types of fields.

Relative paths and secrets need to know where they come from: `Origin`, handed to pydantic as the
validation's context. Without one (a test that builds settings itself), paths stay as they are.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationInfo,
)

from reportd.config.secrets import Secret, SecretsFolder
from reportd.errors import ConfigError

T = TypeVar("T")

_NAME_WANTED = 'secret must be the name of a file, { secret = "name" }'
_ZONE_WANTED = "must be a time zone in quotes, like Europe/Zurich"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a piece of configuration stands."""

    folder: Path
    """The file's folder: relative paths start there."""
    secrets: SecretsFolder | None = None
    """Where secrets are read; None: nowhere, and a reference is an error."""


class Section(BaseModel):
    """A table of the configuration: frozen; what it does not know is an error."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


def read_secret(value: object, info: ValidationInfo) -> Secret:
    """Return what ``{ secret = "name" }`` refers to; raises `ValueError` without the content."""
    if isinstance(value, Secret):
        return value
    if not (isinstance(value, Mapping) and set(value) == {"secret"}):
        raise ValueError(
            'write { secret = "name" } and put the value into the file of that name in the'
            " secrets folder"
        )
    name = value["secret"]
    if not isinstance(name, str):
        raise ValueError(_NAME_WANTED)  # noqa: TRY004  pydantic collects ValueErrors alone
    if not isinstance(info.context, Origin) or info.context.secrets is None:
        raise ValueError("a secret cannot be read here")
    try:
        return info.context.secrets.read(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("must be a path in quotes")
    path = Path(value)
    return info.context.folder / path if isinstance(info.context, Origin) else path


def _zone(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(_ZONE_WANTED)  # noqa: TRY004  pydantic collects ValueErrors alone
    return known_zone(value)


def known_zone(name: str) -> str:
    """Return the name if this machine knows it as a time zone; raises `ValueError`."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name[:64]!r}; write one like Europe/Zurich") from None
    return name


SecretValue = Annotated[Secret, PlainValidator(read_secret)]
"""``{ secret = "name" }``, read when the configuration is loaded."""

FilePath = Annotated[Path, PlainValidator(_path)]
"""A path; a relative one starts at the folder of the file it stands in."""

ZoneName = Annotated[str, PlainValidator(_zone)]
"""An IANA time zone."""


def parsed_by(parse: Callable[[str], T]) -> BeforeValidator:
    """Return a validator that parses text with ``parse`` (which raises `ValueError`)."""

    def validate(value: Any) -> Any:
        return parse(value) if isinstance(value, str) else value

    return BeforeValidator(validate)


def matching(pattern: re.Pattern[str], says: str) -> AfterValidator:
    """Return a validator for text that has to match; ``says`` is for people."""

    def validate(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(says)
        return value

    return AfterValidator(validate)


def as_tuple(value: Any) -> Any:
    """Take TOML's arrays for tuples: they are frozen."""
    return tuple(value) if isinstance(value, list) else value
