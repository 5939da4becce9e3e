"""A real Prometheus for the tests, with what etc/prometheus gives people who run reportd.

Debian's package has it and promtool; ``packaging/bootstrap`` installs it where it may.
"""

import json
import re
import select
import shutil
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import urllib3
import yaml

from reportd.errors import UnavailableError
from tests.foreign import ForeignServer
from tests.loopback import free_port

ETC = Path(__file__).parents[1] / "etc" / "prometheus"
RULES = ETC / "reportd.rules.yml"
HISTORIES = sorted((Path(__file__).parent / "data" / "rules").glob("*.yml"))
"""Promtool's tests, one night a file."""
Labels = frozenset[tuple[str, str]]
Points = list[tuple[float, float]]
"""Instants (epoch) and values."""


def program(name: str) -> str:
    """Return where ``prometheus`` or ``promtool`` is; raises `UnavailableError`."""
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"{name} is missing: apt-get install prometheus")
    return found


def shortened(rules: str, times: int) -> str:
    """Return rules with all their times so many times shorter, but those in days."""

    def short(match: re.Match[str]) -> str:
        seconds = int(match[2]) * {"m": 60, "h": 3600, "d": 86400}[match[3]]
        return f"{match[1]}{seconds * 1000 // times}ms{match[4]}"

    found = re.sub(r"(\[|offset |for: )(\d+)([mhd])(\]|\s|$)", short, rules, flags=re.M)
    return found.replace("/ 1800", f"/ {1800 / times:g}")


def labels(**values: str) -> Labels:
    """Return a series' labels as `Prometheus.ask` does."""
    return frozenset(values.items())


class Prometheus:
    """One server in ``folder``, on 127.0.0.1, with the example's configuration and the rules.

    Scrapes and evaluates every half second instead of every fifteen.
    """

    def __init__(
        self,
        folder: Path,
        targets: Iterable[str],
        scrape: Mapping[str, Any] | None = None,
        quickly: int = 1,
    ) -> None:
        """Write its configuration; ``scrape`` is laid over how it scrapes (a token, TLS).

        ``quickly``: so many times shorter are all times of the rules, but those in days.
        """
        folder.mkdir()
        self._folder = folder
        self.port = free_port()
        self._server = ForeignServer("prometheus", folder / "prometheus.log")
        self._http = urllib3.PoolManager(retries=False, timeout=10)
        config = yaml.safe_load((ETC / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        for name in config["rule_files"]:
            (folder / name).write_text(shortened((ETC / name).read_text(), quickly))
        (job,) = config["scrape_configs"]
        job["static_configs"] = [{"targets": list(targets)}]
        job |= scrape or {}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        """Start it and return when it answers."""
        self._server.start(
            [
                program("prometheus"),
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            self.port,
            {"GOMAXPROCS": "1"},
        )
        deadline = time.monotonic() + 60.0
        while self._http.request("GET", self._url("/-/ready")).status != 200:
            if time.monotonic() > deadline:
                raise UnavailableError("prometheus does not get ready")
            select.select([], [], [], 0.05)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._server.close()
        self._http.clear()

    def ask(self, query: str, at: float | None = None) -> dict[Labels, float]:
        """Return what a query gives now, or at an instant, by its labels but the name."""
        when = {} if at is None else {"time": f"{at:.3f}"}
        return {
            frozenset((k, v) for k, v in one["metric"].items() if k != "__name__"): float(
                one["value"][1]
            )
            for one in self._api("query", query=query, **when)["result"]
        }

    def value(self, query: str) -> float | None:
        """Return the one value that a query gives now; None: it gives nothing."""
        found = self.ask(query)
        if len(found) > 1:
            raise AssertionError(f"{query}: {len(found)} series, not one: {found}")
        return next(iter(found.values()), None)

    def range(self, query: str, since: float, step: float) -> dict[Labels, Points]:
        """Return what a query has given since an instant (epoch), every ``step`` seconds."""
        fields = {"start": str(since), "end": str(time.time()), "step": str(step)}
        return {
            frozenset((k, v) for k, v in one["metric"].items() if k != "__name__"): [
                (at, float(value)) for at, value in one["values"]
            ]
            for one in self._api("query_range", query=query, **fields)["result"]
        }

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {one["labels"]["alertname"] for one in self.alerts() if one["state"] == "firing"}

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or fire."""
        found: list[dict[str, Any]] = self._api("alerts")["alerts"]
        return found

    def _api(self, path: str, **fields: str) -> dict[str, Any]:
        url = self._url(f"/api/v1/{path}?{urllib.parse.urlencode(fields)}")
        answer = json.loads(self._http.request("GET", url).data)
        if answer["status"] != "success":
            raise AssertionError(f"{fields}: {answer['error']}")
        found: dict[str, Any] = answer["data"]
        return found

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"
