"""Where the accounts come from, as a schedule names it. Read by the enqueuer."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from reportd.config.base import Origin, Section
from reportd.config.passed import Passed
from reportd.config.problems import FieldProblems

_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".orc": "orc", ".parquet": "parquet"}
_PACKED = {".gz", ".bz2", ".zst"}


def _tidy(path: str) -> str:
    """Return a path without ``..``, unless a link on the way makes that another place."""
    short = os.path.normpath(path)
    return short if os.path.realpath(short) == os.path.realpath(path) else path


class AccountsSource(Section):
    """The accounts table: anything Spark reads."""

    format: str | None = Field(None, pattern=r"^[A-Za-z0-9._]{1,200}$", examples=["jdbc"])
    """Spark's name of the format (csv, parquet, jdbc ...); unset: after the path's ending."""
    path: str | None = Field(None, min_length=1)
    """The file or folder; a relative one starts at the schedule's folder."""
    table: str | None = Field(None, min_length=1)
    """A table of Spark's catalogue, in the place of format and path."""
    options: Passed = {}
    """Spark's options for reading it; a CSV file has a header unless they say otherwise."""

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is None or "://" in path or not isinstance(info.context, Origin):
            return path
        return _tidy(str(info.context.folder / path))

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Take text for a path; fill in the format, and what a CSV file needs."""
        if isinstance(data, str):
            data = {"path": data}
        if not isinstance(data, Mapping):
            return data
        filled = dict(data)
        path = filled.get("path")
        if "format" not in filled and isinstance(path, str):
            suffixes = [part for part in Path(path).suffixes if part not in _PACKED]
            filled["format"] = _FORMATS.get(suffixes[-1] if suffixes else "")
        if filled.get("format") == "csv" and isinstance(filled.get("options", {}), Mapping):
            filled["options"] = {"header": "true", **filled.get("options", {})}
        return filled

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.table is not None:
            if self.format is not None or self.path is not None:
                raise FieldProblems({"table": "stands alone; remove format and path"})
        elif self.format is None:
            raise ValueError(
                "cannot tell the format; write a path ending in .csv, .parquet, .json or .orc,"
                ' { format = "...", path = "..." }, or { table = "..." }'
            )
        return self
