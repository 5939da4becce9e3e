"""What a request itself puts into its rows: account, currency, run, when it was downloaded.

Used while parsing, in whichever thread does that.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from reportd.errors import UnexpectedAnswerError
from reportd.model.request import Request
from reportd.sinks.columns import ColumnSpec
from reportd.sinks.convert import from_text
from reportd.sinks.schema import arrow_type

_MAY_BE_UNKNOWN = ("currency", "credential")
"""Empty in the accounts table: no value."""


@dataclass(frozen=True, slots=True)
class Context:
    """The request whose answer is parsed."""

    request: Request
    downloaded_at: float
    """Epoch seconds. The one value that differs when a request is run again."""

    @property
    def zone(self) -> str:
        """The account's time zone."""
        return self.request.timezone

    def column(self, name: str, spec: ColumnSpec, rows: int) -> pa.Array:
        """Return a column of the request's own; raises `UnexpectedAnswerError`."""
        text = self._text(spec.request or "")
        if text is None and not spec.optional and spec.request not in _MAY_BE_UNKNOWN:
            raise UnexpectedAnswerError(f"column {name}: the request has no {spec.request}")
        if spec.kind == "string" and not spec.null_markers:
            return pa.repeat(pa.scalar(text, pa.string()), rows)
        texts = pa.chunked_array([pa.array([text], pa.string())])
        value = from_text(texts, name, spec, self.zone)[0].as_py()
        return pa.repeat(pa.scalar(value, arrow_type(spec)), rows)

    def _text(self, field: str) -> str | None:
        request = self.request
        if field == "downloaded_at":
            return datetime.fromtimestamp(self.downloaded_at, UTC).isoformat()
        own, _, key = field.partition(".")
        if own == "params":
            return request.params.get(key)
        if own == "attributes":
            return request.attributes.get(key)
        text = str(getattr(request, "class_" if field == "class" else field))
        return None if field in _MAY_BE_UNKNOWN and not text else text
