"""A real Apache Kafka for the demo, the tests and the benchmark: one node in KRaft mode.

A child of the process that starts it, on 127.0.0.1 alone, with everything it writes in one
folder. It dies with its parent, even if that is killed.

``python -m reportd.demo.kafka FOLDER`` is one to try things with, until Ctrl-C.
"""

import argparse
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from reportd.demo.jars import java, kafka_jars
from reportd.errors import EXIT_UNAVAILABLE, UnavailableError

_HOST = "127.0.0.1"
# Below Linux's ephemeral ports: no outgoing connection takes one while the broker is restarted
_PORTS = range(20_000, 32_000)
_CLUSTER_ID = "cmVwb3J0ZC1lbWJlZGRlZA"
_HEAP = ("-Xms256m", "-Xmx512m")
_JVM = ("-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true")
_LOGGING = {
    "showDateTime": "true",
    "dateTimeFormat": "yyyy-MM-dd HH:mm:ss.SSS",
    "defaultLogLevel": "warn",
    "log.kafka.server.KafkaRaftServer": "info",
    "log.org.apache.kafka.coordinator.group": "info",
}
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    # One node has one replica of everything
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Fifty of each would be opened, loaded and closed again with every broker
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # Groups form at once, and tests may have sessions short enough to wait for
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A broker that was killed may register again as soon as its old session is over
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # 128 MiB by default, a quarter of the heap
    "log.cleaner.dedupe.buffer.size": "16777216",
    "num.network.threads": "2",
    "num.io.threads": "4",
}
_POLL_SECONDS = 0.05
# While it lives it is waited for: on a busy machine it takes minutes
_START_SECONDS = 300.0


class EmbeddedKafka:
    """One broker in ``folder``: its data, its settings and its log stay there over restarts.

    ``settings`` are added to the broker's own. Not for use from several threads at once.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        secured_by: str = "",
    ) -> None:
        """Choose free ports unless ``port`` says which; nothing is started or written yet.

        ``secured_by``: a security protocol (``SASL_SSL``), spoken at a port more, ``secured``.
        """
        self.folder = folder
        self.port = port or _free_port()
        self.log = folder / "kafka.log"
        self._controller_port = _free_port(self.port)
        self._secured_by = secured_by
        self._secured_port = _free_port(self.port, self._controller_port) if secured_by else 0
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel's parent-death signal counts the starting *thread* as the parent, so
        # the one that starts brokers lives as long as this process does
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="embedded-kafka")

    @property
    def servers(self) -> str:
        """What clients call ``bootstrap.servers``."""
        return f"{_HOST}:{self.port}"

    @property
    def secured(self) -> str:
        """The same, for clients that speak what it is ``secured_by``."""
        return f"{_HOST}:{self._secured_port}"

    @property
    def pid(self) -> int | None:
        """The broker's process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self, timeout_seconds: float = _START_SECONDS) -> None:
        """Start the broker and return when it answers requests.

        Fetches its jars first if they are not cached. Raises `UnavailableError`, with the end
        of its log, when it ends or is not ready in time.
        """
        if self._process is not None:
            raise ValueError("the broker was started before")
        jars = kafka_jars()
        self._format(jars)
        with self.log.open("ab") as log:
            self._process = self._starter.submit(
                subprocess.Popen,
                [
                    # It must not outlive us: KILL, because a broker takes its time over TERM
                    *("setpriv", "--pdeathsig", "KILL"),
                    *self._java(jars, "kafka.Kafka"),
                    str(self.folder / "server.properties"),
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is for whoever started us to act upon
                start_new_session=True,
            ).result()
        try:
            self._await_ready(self._process, timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_seconds: float = 20.0) -> None:
        """Stop the broker in order (SIGTERM), or with SIGKILL if that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the broker at once (SIGKILL), as a crash would; its data stays."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self, timeout_seconds: float = _START_SECONDS) -> None:
        """Stop it if it runs, and start it again: the same data at the same address."""
        self.stop()
        self.start(timeout_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    def _java(self, jars: Path, main: str) -> list[str]:
        """Return the command line that runs one of Kafka's programs."""
        logging = [f"-Dorg.slf4j.simpleLogger.{key}={value}" for key, value in _LOGGING.items()]
        # Compression libraries unpack themselves into the temporary folder
        temporary = f"-Djava.io.tmpdir={self.folder}"
        return [java(), *_HEAP, *_JVM, temporary, *logging, "-cp", f"{jars}/*", main]

    def _format(self, jars: Path) -> None:
        """Write the settings, and the empty data folder if there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        controller = f"{_HOST}:{self._controller_port}"
        listeners = {"PLAINTEXT": self.servers}
        if self._secured_by:
            listeners[self._secured_by] = self.secured
        protocols = ["CONTROLLER:PLAINTEXT", *(f"{name}:{name}" for name in listeners)]
        offered = ",".join(f"{name}://{at}" for name, at in listeners.items())
        settings = {
            **_SETTINGS,
            "listener.security.protocol.map": ",".join(protocols),
            "listeners": f"{offered},CONTROLLER://{controller}",
            "advertised.listeners": offered,
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(data),
            **self._settings,
        }
        properties = self.folder / "server.properties"
        properties.write_text(
            "".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8"
        )
        if (data / "meta.properties").exists():
            return
        done = subprocess.run(
            [
                *self._java(jars, "kafka.tools.StorageTool"),
                *("format", "--cluster-id", _CLUSTER_ID, "--config", str(properties)),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise UnavailableError(f"Kafka could not format its storage:\n{done.stdout}")

    def _await_ready(self, process: "subprocess.Popen[bytes]", timeout_seconds: float) -> None:
        """Wait until the broker answers; its own end or the deadline is an error."""
        deadline = time.monotonic() + timeout_seconds
        while not _answers(self.port):
            try:
                # Paces the loop, and wakes it when the broker dies
                status = process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                raise UnavailableError(
                    f"Kafka runs, but did not answer at {self.servers} in {timeout_seconds:g} s;"
                    f" this machine's load is {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs;"
                    f" {self._said()}"
                ) from None
            raise UnavailableError(f"Kafka ended with status {status}; {self._said()}")

    def _said(self, lines: int = 20) -> str:
        """Name the broker's log, and return its end."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if not text:
            return f"its log, {self.log}, is empty"
        return "\n".join([f"the end of its log, {self.log}:", *text.splitlines()[-lines:]])


def _free_port(*beside: int) -> int:
    """Return a port nobody listens at now, other than those ``beside``."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
        if port not in beside:
            return port
    raise UnavailableError("no free port found for Kafka")


def _answers(port: int, timeout_seconds: float = 5.0) -> bool:
    """Ask for the broker's API versions: it answers from when it takes requests on."""
    # Size; then api key 18, version 0, correlation id 1, client id of length 6
    request = struct.pack(">ihhih6s", 16, 18, 0, 1, 6, b"demo-1")
    try:
        with socket.create_connection((_HOST, port), timeout_seconds) as connection:
            connection.sendall(request)
            answer = connection.recv(10)
    except OSError:
        return False
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)


def main() -> int:
    """Run a broker in a folder until Ctrl-C or SIGTERM; what is in it stays for the next time."""
    parser = argparse.ArgumentParser(
        prog="python -m reportd.demo.kafka",
        description="Run one Kafka broker on 127.0.0.1 until Ctrl-C, to try things with.",
    )
    parser.add_argument("folder", type=Path, help="where its data, settings and log are kept")
    parser.add_argument("--port", type=int, default=9092, help="default: %(default)s")
    arguments = parser.parse_args()
    broker = EmbeddedKafka(arguments.folder.absolute(), arguments.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        broker.start()
        print(f"Kafka answers at {broker.servers}; Ctrl-C stops it", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return EXIT_UNAVAILABLE
    finally:
        broker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
