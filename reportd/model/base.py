"""What all records share: strict, frozen, versioned; unknown fields are ignored."""

from typing import Annotated, Any, ClassVar, Self

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from reportd.errors import InvalidMessageError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A partner's, report's or schedule's name: it stands in topics, paths and metric labels."""

Text = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A value from outside: no control characters, bounded."""


class Record(BaseModel):
    """A JSON record of one topic (orjson). Any process may read or write one."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False
    )

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse and check one record.

        Raises `InvalidMessageError` naming every field that is wrong, never its value.
        """
        try:
            return cls.model_validate(orjson.loads(data))
        except (orjson.JSONDecodeError, RecursionError) as error:
            raise InvalidMessageError(f"not JSON: {error}") from None
        except ValidationError as error:
            raise InvalidMessageError(problems_of(error)) from None

    def to_json(self) -> bytes:
        """Return the record's canonical bytes; fields that are None are left out."""
        return orjson.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True))


def problems_of(error: ValidationError) -> str:
    """Say what a validation found, in one line and without the values (they may be hostile)."""

    def one(found: Any) -> str:
        path = ".".join(str(part) for part in found["loc"]) or "record"
        return f"{path[:100]}: {found['msg']}"

    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(one(item) for item in found[:10])
