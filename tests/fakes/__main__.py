"""Play a partner of the catalogue on loopback: ``python -m tests.fakes meta [--faults 0.2]``.

Writes its file and its secrets into a folder, and says how to ask it.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from reportd.config.toml import toml_lines
from tests.fakes.driving import CATALOGUE
from tests.fakes.every import FAKES
from tests.fakes.faults import Faulty
from tests.fakes.jobs import Jobs
from tests.fakes.serving import Served, secrets_of, service_account_key

SECONDS_TO_MAKE = 8.0


def main() -> None:
    """Serve until it is interrupted or terminated."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes", description=__doc__)
    parser.add_argument("name", choices=sorted(FAKES))
    parser.add_argument("--faults", type=float, default=0.0, metavar="SHARE")
    args = parser.parse_args()
    fake = FAKES[args.name]()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with (
        tempfile.TemporaryDirectory(prefix=f"reportd-{args.name}-") as folder,
        Served(fake, time.time, Faulty(fake, 1, args.faults)) as served,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(ready(served, Path(folder)), flush=True)
        served.wait()


def ready(served: Served, folder: Path) -> str:
    """Write a fake's file and secrets; return the command that asks it."""
    fake = served.fake
    jobs = getattr(fake, "jobs", None)
    if isinstance(jobs, Jobs):
        jobs.seconds_to_make = SECONDS_TO_MAKE
    (folder / "secrets").mkdir()
    for name, value in secrets_of(fake, service_account_key()).items():
        (folder / "secrets" / name).write_text(value)
    file = folder / f"{fake.name}.toml"
    said = tomllib.loads((CATALOGUE / file.name).read_text(encoding="utf-8"))
    if "refresh_token" in said["auth"].get("oauth2", {}):
        said["auth"]["oauth2"]["rotates"] = False  # there is no output to keep new ones at
    file.write_text("\n".join(toml_lines(served.here(said))) + "\n")
    report = next(iter(said["reports"]))
    more = "".join(f" --attribute {key}={value}" for key, value in fake.attributes.items())
    return (
        f"reportctl partner try {file} --secrets {folder}/secrets --credential main"
        f" --account 1001 --report {report} --days 2025-11-16..2025-11-18{more}"
    )


if __name__ == "__main__":
    main()
