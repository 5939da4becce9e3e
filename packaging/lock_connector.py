"""Writes ``connector.sha256``: the jars of Spark's Kafka connector, held to what they are now.

Part of ``make lock``. Only those that Spark itself does not bring: they go beside its own jars.
"""

import hashlib
from pathlib import Path

import pyspark

from reportd.demo.jars import spark_connector

FILE = Path(__file__).with_name("connector.sha256")


def main() -> None:
    """Write it anew."""
    own = {jar.name for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    jars = sorted((spark_connector() / "jars").glob("*.jar"))
    # Ivy puts the organisation before the name
    lines = [
        f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n"
        for jar in jars
        if jar.name.partition("_")[2] not in own
    ]
    FILE.write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    main()
