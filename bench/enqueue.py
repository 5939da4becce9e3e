"""A million requests by Spark, and starts that add nothing.

The command itself, on an embedded broker: wall time from its start to its end. Beside it what of
that Spark needed once it ran, because starting a JVM is what a busy machine delays most.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reportd.broker.admin import Admin
from reportd.broker.settings import client_settings
from reportd.broker.topics import topic_plans
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka

ASKS = 20
PARTITIONS = 12
_PARTNER = """
hosts = ["api.example.com"]
limits = [{ per = "account", calls = 5, seconds = 1, meter = "sliding" }]
[reports.campaigns]
get = "https://api.example.com/{{ account.id }}?from={{ from }}&to={{ to }}&m={{ account.manager }}"
rows = "data[]"
columns = { clicks = "int64" }
"""
_LINE = re.compile(r"^(\S+Z) \S+ enqueue (\w+) ", re.MULTILINE)


@dataclass(frozen=True)
class Start:
    """One start of the command."""

    label: str
    target_seconds: float | None
    seconds: float
    """From its start to its end, as a person waits."""
    spark_start_seconds: float
    accounts_seconds: float
    requests_seconds: float
    """Claim, write, compare, snapshot, manifest: with Spark running and the accounts checked."""
    cpu_seconds: float
    peak_megabytes: float
    """Of its largest process, the JVM."""
    load: float
    """The machine's load average (1 minute) at the end."""
    requests: int
    written: int


def measure(folder: Path, requests: int, cores: int) -> list[Start]:
    """Start the command thrice on one broker: to write all, to compare, and with nothing to do.

    Raises `SystemExit` if a start did not do what it should.
    """
    requests -= requests % ASKS
    work = folder / f"enqueue.{os.getpid()}"
    work.mkdir(parents=True)
    try:
        with EmbeddedKafka(work / "kafka") as broker:
            config = _configuration(work, broker.servers, requests, cores)
            starts = [
                _start("write all", 30.0, config, ()),
                _start("read back, add nothing", 45.0, config, ("--add",)),
                _start("complete already", None, config, ()),
            ]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    counts = [(start.requests, start.written) for start in starts]
    if counts != [(requests, requests), (requests, 0), (requests, 0)]:
        raise SystemExit(f"enqueue: requests and written now: {counts}")
    return starts


def _configuration(work: Path, servers: str, requests: int, cores: int) -> Path:
    kafka = KafkaSettings(servers=servers, prefix="bench")
    plans = topic_plans("bench", {"acme": PARTITIONS}, replication=1)
    Admin(client_settings(kafka)).create(plans)
    for name in ("partners", "schedules"):
        (work / name).mkdir()
    (work / "partners/acme.toml").write_text(_PARTNER)
    asks = "".join(
        f'[[ask]]\nreport = "acme.campaigns"\ndays = "{n}"\n' for n in range(1, ASKS + 1)
    )
    (work / "schedules/daily.toml").write_text(
        'calendar = "*-*-* 00:00 UTC"\naccounts = "accounts.csv"\n'
        f'spark = {{ "spark.master" = "local[{cores}]" }}\n{asks}'
    )
    zones = ("UTC", "Europe/Zurich", "America/New_York", "Asia/Tokyo")
    with (work / "schedules/accounts.csv").open("w") as file:
        file.write("partner,account,timezone,currency,credential,manager\n")
        for number in range(requests // ASKS):
            zone = zones[number % len(zones)]
            file.write(f"acme,{10_000_000 + number},{zone},EUR,emea,{number % 300}\n")
    (work / "reportd.toml").write_text(
        f'kafka = {{ servers = "{servers}", prefix = "bench" }}\noutput = {{ root = "out" }}\n'
    )
    return work / "reportd.toml"


def _start(label: str, target: float | None, config: Path, options: tuple[str, ...]) -> Start:
    begun, wall = time.monotonic(), time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "reportd.cli.enqueue", "daily", f"--config={config}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Little is said: neither pipe fills up
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    said, log = process.communicate()
    if process.returncode:
        raise SystemExit(f"{label}: exit status {process.returncode}\n{said}{log}")
    at = {action: datetime.fromisoformat(when).timestamp() for when, action in _LINE.findall(log)}
    spark = at.get("spark_started", wall)
    accounts = at.get("accounts_read", spark)
    counts = [int(number) for number in re.findall(r" (\d+) (?:requests|written)", said)]
    return Start(
        label=label,
        target_seconds=target,
        seconds=round(seconds, 1),
        spark_start_seconds=round(spark - wall, 1),
        accounts_seconds=round(accounts - spark, 1),
        requests_seconds=round(at.get("run_enqueued", accounts) - accounts, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_megabytes=round(usage.ru_maxrss / 1024, 0),
        load=round(os.getloadavg()[0], 1),
        requests=counts[0],
        written=counts[1] if len(counts) > 1 else 0,
    )
