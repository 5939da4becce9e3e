"""Receipts: which request made a file.

In the footer of a Parquet file (key ``reportd.receipt``), a small JSON file under
``_reportd/receipts/`` beside any other. Written and read by workers; anyone may read them.
"""

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import orjson

from reportd.model.run import RunOrder, order_of

FOOTER_KEY = b"reportd.receipt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one file is, and who made it."""

    id: str
    replay: int
    run: str
    path: str
    """The final name, relative to the root."""
    day: str
    format: str
    rows: int
    columns: str
    """A short hash of the columns' names and types."""
    provisional: bool = False
    size_bytes: int = 0
    """The file's size; 0 in a Parquet footer, which cannot know it."""
    checksum: str = ""
    """``sha256:...`` of the file; empty in a Parquet footer, which cannot know it."""
    content: str = ""
    """A hash of what the rows hold; empty: not known."""
    v: int = 1
    """The version of this record."""

    @property
    def order(self) -> RunOrder:
        """What the file's run is ordered by."""
        return order_of(self.run)

    def made_by(self, request_id: str, replay: int) -> bool:
        """Say whether this life of this request made the file."""
        return (self.id, self.replay) == (request_id, replay)

    def to_json(self) -> bytes:
        """Return the receipt as it is stored; the same fields give the same bytes."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, data: bytes) -> "Receipt | None":
        """Return the receipt, or None when the bytes are not one."""
        try:
            found: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(found, dict) or found.get("v") != 1:
            return None
        values: dict[str, Any] = {}
        for item in fields(cls):
            value = found.get(item.name, "" if item.name == "content" else None)
            if type(value) is not item.type:
                return None
            values[item.name] = value
        return cls(**values)


def checksum_of(data: bytes | memoryview) -> str:
    """Return ``sha256:...``: OpenSSL's, about 1 GB/s, and it releases the GIL."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
