"""The Spark session: quiet, local unless told otherwise, nothing left behind.

Made by `reportd.enqueue.job` in the enqueuer's process; Spark itself is a JVM beside it that ends
with it, even after SIGKILL. What the JVM says goes to a file; its last lines are shown when it
does not start.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyspark
from py4j.protocol import (  # type: ignore[import-untyped] # it has no types
    Py4JError,
    Py4JJavaError,
)
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from reportd.config.secrets import Secret
from reportd.enqueue.holder import is_gone, process_name
from reportd.errors import BrokerError, ConfigError, ReportdError, UnavailableError

logger = logging.getLogger(__name__)

CONNECTOR = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{pyspark.__version__}"
REDACTED = "(?i)url|secret|password|passwd|token|jaas|credential|access[.]?key|ssl[.].*key"

_LOG4J = """\
status = error
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{1}: %m%n
logger.repl.name = org.apache.spark.api.python.PythonGatewayServer
logger.repl.level = error
"""
_JAVA_OPTIONS = "-XX:+UseParallelGC"
"""The least CPU of Java's collectors; pauses hurt nobody here."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the session may write."""

    cache: Path
    """Kept: the connector's jars."""
    scratch: Path
    """Removed at the end: shuffles, logs, temporary files."""

    @property
    def ivy(self) -> Path:
        """Where Spark resolves its packages."""
        return self.cache / f"ivy-{pyspark.__version__}"

    @property
    def log(self) -> Path:
        """What the JVM says."""
        return self.scratch / "spark.log"


@contextmanager
def session(given: Mapping[str, str | Secret], cache: Path) -> Iterator[SparkSession]:
    """Yield a session; ``given`` are the user's Spark settings, which win.

    Takes 5 to 15 seconds. Raises `ConfigError` without Java, `UnavailableError` when the JVM does
    not start or the connector cannot be fetched.
    """
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise ConfigError(
            "no java found: Spark needs a Java 17 runtime (Debian: openjdk-17-jre-headless)"
        )
    with ExitStack() as stack:
        folders = Folders(cache, stack.enter_context(_scratch(cache)))
        settings = _settings(given, folders)
        if "spark.jars.packages" in settings:
            logger.info(
                "fetching Spark's Kafka connector into %s, once",
                folders.ivy,
                extra={"action": "spark_connector_fetched"},
            )
            stack.enter_context(_alone(folders.ivy))
        context = _start(settings, folders)
        stack.callback(_stop, context)
        if "spark.jars.packages" in settings:
            _remember_jars(folders.ivy)
        yield SparkSession(context)


def _settings(given: Mapping[str, str | Secret], folders: Folders) -> dict[str, str | Secret]:
    master = str(given.get("spark.master", "local[*]"))
    settings: dict[str, str | Secret] = {
        "spark.master": master,
        "spark.app.name": "reportd-enqueue",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(folders.scratch / "warehouse"),
        "spark.sql.redaction.options.regex": REDACTED,
        "spark.redaction.regex": REDACTED,
        # A CSV row with a field too many or too few is seen only if all of its fields are read
        "spark.sql.csv.parser.columnPruning.enabled": "false",
    }
    if master.startswith("local"):
        cores = os.cpu_count() or 1
        settings |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": str(folders.scratch),
            "spark.sql.shuffle.partitions": str(2 * cores),
        }
    settings |= given
    # Not Kafka: its older sink fulfils no Observation, its source makes objects of rows
    settings["spark.sql.sources.useV1SourceList"] = "avro,csv,json,orc,parquet,text"
    settings["spark.driver.extraJavaOptions"] = " ".join(
        (
            f"-Dlog4j2.configurationFile={_log4j(folders).as_uri()}",
            f"-Djava.io.tmpdir={folders.scratch}",
            "-XX:-UsePerfData",
            str(given.get("spark.driver.extraJavaOptions", _JAVA_OPTIONS)),
        )
    ).strip()
    return settings | _connector(given, folders.ivy)


def _log4j(folders: Folders) -> Path:
    path = folders.scratch / "log4j2.properties"
    path.write_text(_LOG4J, encoding="ascii")
    return path


def _connector(given: Mapping[str, str | Secret], ivy: Path) -> dict[str, str | Secret]:
    """Return what brings the connector: its jars when they are known, else Spark fetches them.

    Nothing has to when it lies beside Spark's own jars: the Debian package puts it there.
    """
    fetched_to = {"spark.jars.ivy": given.get("spark.jars.ivy", str(ivy))}
    if has_connector(Path(pyspark.__file__).parent):
        return fetched_to if "spark.jars.packages" in given else {}
    jars = _remembered_jars(ivy)
    if jars and "spark.jars.packages" not in given:
        own = [str(given["spark.jars"])] if "spark.jars" in given else []
        return {"spark.jars": ",".join([*own, *map(str, jars)])}
    packages = [str(given["spark.jars.packages"])] if "spark.jars.packages" in given else []
    return {"spark.jars.packages": ",".join([*packages, CONNECTOR]), **fetched_to}


def has_connector(spark: Path) -> bool:
    """Whether a PySpark's folder has the connector among its own jars."""
    _, name, version = CONNECTOR.split(":")
    return (spark / "jars" / f"{name}-{version}.jar").exists()


def _remembered_jars(ivy: Path) -> list[Path]:
    """Return the connector's jars if all are there, as they were when Spark last resolved them."""
    try:
        sizes: dict[str, int] = orjson.loads((ivy / "connector.json").read_bytes())[CONNECTOR]
        jars = {ivy / "jars" / name: size for name, size in sizes.items()}
        return list(jars) if all(jar.stat().st_size == n for jar, n in jars.items()) else []
    except (OSError, ValueError, KeyError):
        return []


def _remember_jars(ivy: Path) -> None:
    """Write down which jars the connector came with, those apart that Spark itself has.

    Asking Ivy again takes three seconds, and the network.
    """
    spark = {jar.name for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    found = (ivy / "jars").glob("*.jar")
    sizes = {j.name: j.stat().st_size for j in found if j.name.partition("_")[2] not in spark}
    fresh = ivy / "connector.json.new"
    fresh.write_bytes(orjson.dumps({CONNECTOR: sizes}))
    fresh.replace(ivy / "connector.json")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time resolve packages: Ivy's cache is not made for two."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """Yield a folder of this process; removes it after, and those that killed ones have left."""
    parent = cache / "enqueue"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        try:
            owner = (left / "owner").read_text(encoding="ascii")
        except OSError:
            continue
        if is_gone(owner):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        (folder / "owner").write_text(process_name(), encoding="ascii")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(settings: Mapping[str, str | Secret], folders: Folders) -> SparkContext:
    # What is secret goes to the JVM through its socket, never to its command line
    on_command_line, whole = SparkConf(loadDefaults=False), SparkConf(loadDefaults=False)
    for name, value in settings.items():
        if isinstance(value, Secret):
            whole.set(name, value.reveal())
        else:
            on_command_line.set(name, value)
            whole.set(name, value)
    try:
        with folders.log.open("wb") as log:
            gateway = launch_gateway(  # type: ignore[no-untyped-call] # it has no types
                on_command_line, {"stdout": log, "stderr": log}
            )
        return SparkContext(conf=whole, gateway=gateway)
    except (PySparkException, Py4JError, OSError) as error:
        last = folders.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        said = "\n".join(["", *last]) if last else f" {first_line(error)}"
        raise UnavailableError(f"Spark does not start:{said}") from None


def _stop(context: SparkContext) -> None:
    """Stop Spark and its JVM, and let a later session have one of its own."""
    gateway: Any = SparkContext._gateway
    try:
        context.stop()
    finally:
        SparkContext._gateway = None
        SparkContext._jvm = None
        gateway.shutdown()
        process = gateway.proc
        process.stdin.close()
        process.wait(30)


@contextmanager
def translated(what: str, wrap: Callable[[str], ReportdError] = ReportdError) -> Iterator[None]:
    """Raise what Spark raises as ours: `BrokerError` if Kafka is the cause, else ``wrap(text)``."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        causes = _causes(error)
        for name, message in causes:
            if name.startswith("org.apache.kafka."):
                text = f"{what}: {name.rpartition('.')[2]}: {message}"
                raise BrokerError(text) from None
        root = causes[-1][1] if causes else ""
        raise wrap(f"{what}: {root or first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _causes(error: Exception) -> list[tuple[str, str]]:
    """Return class and first line of a Java exception and of what caused it."""
    java: Any = getattr(error, "_origin", None)
    if isinstance(error, Py4JJavaError):
        java = error.java_exception
    found: list[tuple[str, str]] = []
    while java is not None and len(found) < 20:
        text = str(java.getMessage() or "").strip().partition("\n")[0]
        found.append((str(java.getClass().getName()), text))
        java = java.getCause()
    return found
