"""The demo's work folder: all of its configuration, and where everything else goes."""

import csv
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from reportd.demo.scene import Scene

_PORT_IN_FILES = "127.0.0.1:18080"
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SCHEDULE = "daily"
PREFIX = "demo"
MACHINE_ID = "demo"


@dataclass(frozen=True, slots=True)
class Workplace:
    """The paths below one folder."""

    root: Path

    @property
    def config(self) -> Path:
        """``reportd.toml``."""
        return self.root / "etc" / "reportd.toml"

    @property
    def schedule(self) -> Path:
        """The only schedule."""
        return self.root / "etc" / "schedules" / f"{SCHEDULE}.toml"

    @property
    def accounts(self) -> Path:
        """The accounts table."""
        return self.root / "etc" / "accounts.csv"

    @property
    def partners(self) -> Path:
        """The partner files."""
        return self.root / "etc" / "partners"

    @property
    def output(self) -> Path:
        """The output root."""
        return self.root / "output"

    @property
    def kafka(self) -> Path:
        """The broker's folder."""
        return self.root / "kafka"

    @property
    def calls(self) -> Path:
        """The simulator's log of calls."""
        return self.root / "calls.jsonl"

    @property
    def summary(self) -> Path:
        """What came out."""
        return self.root / "summary.json"

    def log(self, name: str) -> Path:
        """Where one program's standard error goes."""
        return self.root / f"{name}.log"

    def write(self, scene: Scene, servers: str, simulator_port: int, metrics_port: int) -> None:
        """Write the whole configuration."""
        for folder in (self.partners, self.schedule.parent, self.root / "etc" / "secrets"):
            folder.mkdir(parents=True, exist_ok=True)
        self.output.mkdir(exist_ok=True)
        self.config.write_text(_config(servers, self.output, metrics_port), encoding="utf-8")
        self.schedule.write_text(_schedule(scene, self.accounts), encoding="utf-8")
        self._write_accounts(scene)
        for role in scene.roles:
            self._write_partner(role.partner.name, simulator_port)
            for name, value in role.secrets:
                secret = self.root / "etc" / "secrets" / name
                secret.touch(mode=0o600)
                secret.write_text(f"{value}\n", encoding="utf-8")

    def _write_accounts(self, scene: Scene) -> None:
        columns = ("partner", "account", "timezone", "currency", "credential")
        with self.accounts.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for account in scene.accounts():
                writer.writerow([getattr(account, name) for name in columns])

    def _write_partner(self, name: str, port: int) -> None:
        source = files("reportd.demo") / "partners" / f"{name}.toml"
        text = source.read_text(encoding="utf-8").replace(_PORT_IN_FILES, f"127.0.0.1:{port}")
        (self.partners / f"{name}.toml").write_text(text, encoding="utf-8")


def _config(servers: str, output: Path, metrics_port: int) -> str:
    return f"""\
# Written by the demo.
kafka = {{ servers = "{servers}", prefix = "{PREFIX}" }}
workers = {{ processes = 4, machine_id = "{MACHINE_ID}" }}
metrics = {{ listen = "127.0.0.1:{metrics_port}" }}
[output]
root = "{output}"
path = "{{partner}}/{{report}}/date={{date}}/{{account}}.{{ext}}"
"""


def _schedule(scene: Scene, accounts: Path) -> str:
    lines = [
        "# Written by the demo.",
        'calendar = "*-*-* 04:00 Europe/Zurich"',
        f'accounts = "{accounts}"',
        "# A few seconds of work: not worth what Java's better compiler costs",
        f'spark = {{ "spark.driver.extraJavaOptions" = "{_JAVA}" }}',
    ]
    for role in scene.roles:
        formats = ", ".join(f'"{one}"' for one in role.formats)
        lines += [
            "[[ask]]",
            f'report = "{role.partner.name}.{role.report}"',
            f'days = "1..{role.asks * role.days}"',
            f"split_days = {role.days}",
            f"formats = [{formats}]",
        ]
    return "\n".join(lines) + "\n"
