"""A real S3 server for the tests: versitygw, over a folder on this machine.

``python -m tests.s3server`` (of ``make test``) builds it, once, with the ordinary Go client into
the user's cache; the fixture asks too, so that it works without. An object is a plain file below
the folder, under its own name: tests read, age and damage what is stored as in a local store.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from reportd.config.cache import cache_folder
from reportd.config.secrets import Secret
from reportd.config.settings import S3Settings
from reportd.demo.jars import fetched
from reportd.errors import UnavailableError
from reportd.sinks.s3 import S3Store
from reportd.transport.client import Client
from reportd.transport.s3 import BucketCalls
from tests.foreign import ForeignServer
from tests.loopback import free_port

VERSION = "1.8.0"
BUCKET = "reports"
ROOT = f"s3://{BUCKET}/raw"
ACCESS_KEY = "test-access-key"
_NAME = f"versitygw-{VERSION}"
_LEAST_GO = (1, 21)
"""From here on a Go fetches the newer Go that a module asks for."""
_BUILD_SECONDS = 900.0


def server_program() -> Path:
    """Return the server; builds it if it is not there yet.

    Blocks for minutes then. Raises `UnavailableError`, with what to do, when it cannot be had.
    """
    return fetched(_NAME, _build) / "versitygw"


def is_cached() -> bool:
    """Say whether the server was built before."""
    return (cache_folder() / _NAME).is_dir()


def _build(folder: Path) -> None:
    go = shutil.which("go")
    said = _run([go, "version"], {}) if go else "none"
    found = re.search(r"go(\d+)\.(\d+)", said)
    if go is None or found is None or (int(found[1]), int(found[2])) < _LEAST_GO:
        least = ".".join(map(str, _LEAST_GO))
        raise UnavailableError(
            f"the S3 server needs Go {least} or newer to be built, found {said.strip()}"
        )
    with tempfile.TemporaryDirectory(prefix="go.", dir=folder.parent) as work:
        _run(
            [go, "install", f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}"],
            {
                "GOBIN": str(folder),
                "GOPATH": work,
                "GOCACHE": f"{work}/cache",
                "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
                "CGO_ENABLED": "0",
            },
        )


def _run(command: list[str], environment: dict[str, str]) -> str:
    try:
        return subprocess.run(
            command,
            env={**os.environ, **environment},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_BUILD_SECONDS,
        ).stdout
    except subprocess.CalledProcessError as error:
        said = "\n".join(error.stdout.splitlines()[-10:])
        raise UnavailableError(f"{' '.join(command)}: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{' '.join(command)}: {error}") from error


class S3Server:
    """One server in ``folder``, on 127.0.0.1, with one bucket; it dies with its parent."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self._folder = folder
        self._secret = secrets.token_hex(16)
        self._server = ForeignServer("s3server", folder / "s3server.log")
        self.port = 0

    @property
    def root(self) -> Path:
        """Where the objects of `ROOT` lie on this machine."""
        return self._folder / "gateway" / BUCKET / "raw"

    @property
    def secret_key(self) -> str:
        """The key of its only account."""
        return self._secret

    def settings(self, port: int = 0) -> S3Settings:
        """Return how to reach it, or what listens at ``port`` in front of it."""
        return settings_of(port or self.port, self._secret)

    def start(self) -> Self:
        """Start it and return when it listens; on the port that it had, if it had one."""
        (self._folder / "gateway" / BUCKET).mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self._server.start(
            [
                str(server_program()),
                *("--port", f"127.0.0.1:{self.port}", "--quiet"),
                *("posix", str(self._folder / "gateway")),
            ],
            self.port,
            {
                "ROOT_ACCESS_KEY_ID": ACCESS_KEY,
                "ROOT_SECRET_ACCESS_KEY": self._secret,
                "GOMAXPROCS": "2",
            },
        )
        return self

    def kill(self) -> None:
        """End it at once; what it has acknowledged stays."""
        self._server.kill()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._server.close()


def settings_of(port: int, secret: str) -> S3Settings:
    """Return how a server is reached; nothing takes long on this machine."""
    return S3Settings(
        access_key=Secret(ACCESS_KEY, "s3-access-key"),
        secret_key=Secret(secret, "s3-secret-key"),
        endpoint=f"http://127.0.0.1:{port}",
        connect_timeout_seconds=1.0,
        request_timeout_seconds=2.0,
    )


def open_store(settings: S3Settings) -> S3Store:
    """Open a store as a worker does."""
    return S3Store(ROOT, settings, BucketCalls(Client(), settings, BUCKET))


def main() -> None:
    """Build the server if it is missing, and print its folder; say so when it cannot be had."""
    try:
        print(server_program().parent)
    except UnavailableError as error:
        sys.stderr.write(f"{error}: its tests will be skipped\n")


if __name__ == "__main__":
    main()
