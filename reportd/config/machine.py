"""Which VM this is: its name in the consumer group, different on each. Reads one file."""

from pathlib import Path

from reportd.config.settings import WorkerSettings
from reportd.errors import ConfigError


def machine_id(workers: WorkerSettings, etc: Path = Path("/etc")) -> str:
    """Return the configured name, else the machine id; raises `ConfigError` if there is none."""
    if workers.machine_id is not None:
        return workers.machine_id
    path = etc / "machine-id"
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if not found or found == "uninitialized":
        raise ConfigError(f"workers.machine_id: {path} names no machine; set a name for this VM")
    return found
