"""What one start of the peer is told: JSON in a file, written by the bench."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

Parsing = Literal["inline", "thread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimit:
    """One limit, kept by pacing: a call every ``seconds / calls``, so many at once at most."""

    calls: int
    seconds: float = 1.0
    burst: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """One configuration of the peer; the first three are the grid that the best is chosen from."""

    processes: int
    concurrency: int
    """Requests in work at once in each process."""
    parsing: Parsing
    """Whether a request's file is made on the event loop, or in a thread beside it."""
    lean: bool = True
    """Parquet as reportd writes small files: no dictionary, no statistics."""
    servers: str = ""
    topic: str = ""
    group: str = ""
    base_url: str = ""
    format: Literal["csv", "json"] = "csv"
    root: str = ""
    token: str = ""
    partner_limit: PeerLimit | None = None
    account_limit: PeerLimit | None = None

    @property
    def label(self) -> str:
        """How the grid's table calls it."""
        return f"{self.processes} x {self.concurrency} {self.parsing}"

    def write(self, path: Path) -> None:
        """Write the file that `read` reads."""
        path.write_bytes(orjson.dumps(asdict(self)))


def read(path: Path) -> PeerSettings:
    """Read what `PeerSettings.write` wrote."""
    data = orjson.loads(path.read_bytes())
    for name in ("partner_limit", "account_limit"):
        if data[name] is not None:
            data[name] = PeerLimit(**data[name])
    return PeerSettings(**data)
