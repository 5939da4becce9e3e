"""The simulator as a child process: start it, ask it, change its mood, end it by its own pid."""

import http.client
import subprocess
import sys
import tempfile
from dataclasses import asdict
from typing import Any, Self

import orjson

from reportd.demo.simulator.book import SeenCall, call_of
from reportd.demo.simulator.config import Faults, Latency, SimulatorConfig, to_json

_START_SECONDS = 30.0


class Simulator:
    """A running simulator. It ends with `stop`, or when this process dies."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def start(self) -> Self:
        """Start the process and wait until it listens."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(to_json(self._config))
            file.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "reportd.demo.simulator", file.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start: exit {self._process.wait()}")
        self.port = orjson.loads(line)["port"]
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and wait; nothing happens if it is not running."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None

    def stats(self) -> dict[str, Any]:
        """Return the counts by partner, the answers held and the trap calls."""
        found: dict[str, Any] = self._ask("GET", "stats")
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """Return, by partner, calls ``in_flight`` and how many ended as what; quick."""
        found: dict[str, dict[str, int]] = self._ask("GET", "counts")
        return found

    def calls(self, since: int = 0) -> list[SeenCall]:
        """Return every call from number ``since`` on, as it stands now."""
        return [call_of(row) for row in self._ask("GET", f"calls?since={since}")]

    def outage(self, partner: str = "", *, on: bool = True, how: str = "error") -> None:
        """Take a partner (or all) down: ``error``, ``reset`` or ``hang``; or up again."""
        self._ask("POST", "outage", {"partner": partner, "on": on, "how": how})

    def faults(self, faults: Faults, partner: str = "") -> None:
        """Play other faults from now on."""
        self._ask("POST", "faults", {"partner": partner, "faults": asdict(faults)})

    def latency(self, latency: Latency, partner: str = "") -> None:
        """Answer with another latency from now on."""
        self._ask("POST", "latency", {"partner": partner, "latency": asdict(latency)})

    def hold(self, partner: str = "") -> None:
        """Keep the answers of calls that come from now on, until `release`."""
        self._ask("POST", "hold", {"partner": partner})

    def release(self) -> None:
        """Send every answer held, and hold no more."""
        self._ask("POST", "release", {})

    def _ask(self, method: str, path: str, said: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_START_SECONDS)
        try:
            body = None if said is None else orjson.dumps(said)
            connection.request(method, f"/_sim/{path}", body)
            answer = connection.getresponse()
            data = orjson.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"simulator: {path}: {data}")
        return data

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the simulator is not running")
        return self._process
