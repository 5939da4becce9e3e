"""Apache Kafka's jars and those of Spark's Kafka connector, fetched once into the user's cache.

``python -m reportd.demo.jars`` is the part of set-up that does it; the embedded broker asks too,
so that it works without. An ordinary client does the fetching, with whatever mirror, proxy or
trust store this machine gives it: Maven if it is installed, else the Ivy that comes with PySpark.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from reportd.config.cache import cache_folder
from reportd.errors import UnavailableError

KAFKA_VERSION = "4.1.1"

_KAFKA = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    # Kafka logs through slf4j 1.7 and its own jars bring nothing that writes
    ("org.slf4j", "slf4j-simple", "1.7.36"),
)
_FETCH_SECONDS = 900.0


def kafka_jars() -> Path:
    """Return the folder with the broker's jars; fetches them if they are not there yet.

    Blocks for up to a minute then, and for a second process that does the same. Raises
    `UnavailableError` if they cannot be had.
    """
    return fetched(f"kafka-{KAFKA_VERSION}", _fetch_kafka)


def spark_connector() -> Path:
    """Return the folder for ``spark.jars.ivy`` that has Spark's Kafka connector in it.

    Fetches as `kafka_jars` does. Spark looks there itself, so the folder has Spark's own form.
    """
    _pyspark()
    return fetched(f"ivy-{version('pyspark')}", _fetch_connector)


def java() -> str:
    """Return the ``java`` to use; raises `UnavailableError` when there is none."""
    found = shutil.which("java")
    if found is None:
        raise UnavailableError(
            "no java found: install a Java 17 runtime (Debian: openjdk-17-jre-headless)"
        )
    return found


def fetched(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return the cache's folder ``name``, filled by ``fetch`` in full or not there at all."""
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{name}.lock")):
        if not folder.is_dir():
            temporary = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))
            try:
                fetch(temporary)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; the kernel lets go of it when this one dies."""
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_kafka(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fetch.", dir=folder.parent) as work:
        if shutil.which("mvn"):
            _fetch_with_maven(folder, Path(work))
        else:
            _fetch_with_ivy(folder, Path(work))
    if not any(folder.glob(f"kafka_2.13-{KAFKA_VERSION}.jar")):
        raise UnavailableError(f"fetching Apache Kafka {KAFKA_VERSION} brought no broker")


def _fetch_with_maven(folder: Path, work: Path) -> None:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
        f"<version>{revision}</version></dependency>"
        for group, name, revision in _KAFKA
    )
    pom = work / "pom.xml"
    pom.write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>reportd</groupId>"
        "<artifactId>embedded-kafka</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>",
        encoding="utf-8",
    )
    _run(
        [
            *("mvn", "--batch-mode", "--quiet", f"--file={pom}", "dependency:copy-dependencies"),
            # Its own repository, thrown away: the cache folder is all that set-up may write to
            f"-Dmaven.repo.local={work / 'm2'}",
            f"-DoutputDirectory={folder}",
            "-DincludeScope=runtime",
        ],
        work,
        {"MAVEN_OPTS": _added("MAVEN_OPTS", *_leave_nothing_behind(work))},
    )


def _fetch_with_ivy(folder: Path, work: Path) -> None:
    dependencies = "".join(
        f'<dependency org="{group}" name="{name}" rev="{revision}" conf="default->default"/>'
        for group, name, revision in _KAFKA
    )
    module = work / "ivy.xml"
    module.write_text(
        '<ivy-module version="2.0"><info organisation="reportd" module="embedded-kafka"/>'
        '<configurations><conf name="default"/></configurations>'
        f"<dependencies>{dependencies}</dependencies></ivy-module>",
        encoding="utf-8",
    )
    ivy = next(_pyspark().glob("jars/ivy-*.jar"))
    _run(
        [
            *(java(), f"-Duser.home={work}", *_leave_nothing_behind(work)),
            *("-jar", str(ivy), "-ivy", str(module)),
            *("-cache", str(work / "cache"), "-types", "jar", "bundle", "-confs", "default"),
            *("-retrieve", f"{folder}/[artifact]-[revision](-[classifier]).[ext]"),
        ],
        work,
    )


def _fetch_connector(folder: Path) -> None:
    """Let Spark resolve the connector itself, for a program that does nothing."""
    spark = _pyspark()
    with tempfile.TemporaryDirectory(prefix="fetch.", dir=folder.parent) as name:
        work = Path(name)
        nothing = work / "nothing.py"
        nothing.touch()
        _run(
            [
                *(str(spark / "bin" / "spark-submit"), "--master", "local[1]"),
                *("--conf", f"spark.jars.ivy={folder}"),
                *("--packages", f"org.apache.spark:spark-sql-kafka-0-10_2.13:{version('pyspark')}"),
                str(nothing),
            ],
            work,
            {
                "SPARK_HOME": str(spark),
                "PYSPARK_PYTHON": sys.executable,
                "SPARK_LOCAL_DIRS": str(work),
                "SPARK_LAUNCHER_OPTS": _added("SPARK_LAUNCHER_OPTS", "-XX:-UsePerfData"),
                "SPARK_SUBMIT_OPTS": _added("SPARK_SUBMIT_OPTS", *_leave_nothing_behind(work)),
            },
        )
    if not any(folder.glob("jars/*spark-sql-kafka*.jar")):
        raise UnavailableError("fetching Spark's Kafka connector brought no connector")


def _pyspark() -> Path:
    """Return the folder of the installed PySpark, without importing it."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError("PySpark is not installed: pip install 'reportd[enqueue]'")
    return Path(spec.submodule_search_locations[0])


def _leave_nothing_behind(work: Path) -> tuple[str, str]:
    """Return the options that keep a Java from writing to the machine's temporary folder."""
    return "-XX:-UsePerfData", f"-Djava.io.tmpdir={work}"


def _added(variable: str, *options: str) -> str:
    """Return an environment variable's options with ours after them."""
    return " ".join((os.environ.get(variable, ""), *options)).strip()


def _run(command: list[str], work: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a client to its end; its last lines are the reason when it fails."""
    try:
        subprocess.run(
            command,
            cwd=work,
            env={**os.environ, **(environment or {})},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_FETCH_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        said = "\n".join(error.stdout.splitlines()[-20:])
        raise UnavailableError(f"{command[0]} could not fetch jars:\n{said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"could not fetch jars: {error}") from error


def main() -> None:
    """Fetch what is missing and print the folders, one a line."""
    try:
        print(kafka_jars())
        print(spark_connector())
    except UnavailableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
