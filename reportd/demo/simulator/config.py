"""What the simulator plays: partners as data. Goes to the simulator's process as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter

from reportd.demo.truth import Truth

Meter = Literal["bucket", "fixed", "sliding"]
Per = Literal["partner", "account", "credential"]
SlowDown = Literal["429", "429-retry-after", "200-code", "403-reason"]
Paging = Literal["none", "number", "cursor", "url"]

FAULTS = (
    "error",
    "reset",
    "truncated",
    "cut",
    "html",
    "throttle",
    "hang",
    "redirect",
)
"""The names of `Faults`, in the order in which the dice look at them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How a partner counts calls; measured when the call's last byte has arrived."""

    per: Per
    calls: int
    seconds: float = 1.0
    meter: Meter = "bucket"
    burst: int | None = None
    """Bucket: its size in calls; None: ``calls``."""
    counts_refused: bool = False
    """Whether a refused call still counts against the limit."""
    phase_seconds: float = 0.0
    """Fixed window: how far its start lies from a multiple of ``seconds`` since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The probability of each fault for one call (0 to 1; in sum at most 1)."""

    error: float = 0.0
    """Status 500 and a JSON body."""
    reset: float = 0.0
    """The connection is reset before any answer."""
    truncated: float = 0.0
    """Content-Length says more than is sent; then the connection ends."""
    cut: float = 0.0
    """Half the body with a Content-Length that fits it: broken JSON or a broken gzip stream."""
    html: float = 0.0
    """Status 200 and an HTML page."""
    throttle: float = 0.0
    """The partner's slow-down answer although its limit is not reached."""
    hang: float = 0.0
    """No answer for ``hang_seconds``, then the connection ends."""
    redirect: float = 0.0
    """302 to another host (``localhost``), where following it is written down as a trap call."""
    hang_seconds: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long answers take: log-normal around the median, some of them slow."""

    median_seconds: float = 0.0
    sigma: float = 0.0
    slow_share: float = 0.0
    slow_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """One partner at ``/<name>/<report>?account=&from=&to=[&page=|&cursor=]`` (or POST, JSON)."""

    name: str
    limits: tuple[Limit, ...] = ()
    slow_down: SlowDown = "429-retry-after"
    format: Literal["json", "jsonl", "csv"] = "json"
    gzip: Literal["none", "encoding", "file"] = "none"
    """``encoding``: Content-Encoding; ``file``: the body itself is a gzip file."""
    paging: Paging = "none"
    page_rows: int = 10
    preamble_lines: int = 0
    """CSV: how many lines stand before the header."""
    delimiter: str = ","
    bom: bool = False
    faults: Faults = field(default_factory=Faults)
    latency: Latency = field(default_factory=Latency)
    truth: Truth = field(default_factory=Truth)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers that every call must have, names in lower case; otherwise 401."""
    makes: Literal["", "pages", "file"] = ""
    """A report is made first: POST ``.../create``, then ``.../poll/ID``, then ``.../rows/ID`` by
    number, or a file by a URL of another host."""
    making_seconds: float = 0.0
    """How long that takes."""
    url_seconds: float = 5.0
    """How long a file's URL is good."""
    gone_accounts: tuple[str, ...] = ()
    """Accounts that the partner answers with 404."""
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Everything one simulator process plays."""

    partners: tuple[Partner, ...]
    log: str = ""
    """The file that each call is appended to; empty: none."""
    recorded: str = ""
    """A folder served below ``/_recorded/``; empty: none."""
    port: int = 0


_ADAPTER: TypeAdapter[SimulatorConfig] = TypeAdapter(SimulatorConfig)


def to_json(config: SimulatorConfig) -> bytes:
    """Return the configuration as `from_json` reads it."""
    return _ADAPTER.dump_json(config)


def from_json(data: bytes) -> SimulatorConfig:
    """Read what `to_json` wrote."""
    return _ADAPTER.validate_json(data)
