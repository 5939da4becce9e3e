"""librdkafka's settings in the words of Java's Kafka client, which Spark uses.

Pure but for the PEM files it reads: their content is handed over, so that a cluster's executors
need no file. Values that are secret stay `Secret` until Spark gets them.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from reportd.config.secrets import Secret
from reportd.config.settings import KafkaSettings
from reportd.errors import ConfigError

logger = logging.getLogger(__name__)

JavaSettings = dict[str, str | Secret]

_OWN = "spark.reportd.kafka."
"""How a schedule's ``spark`` table names settings of Java's client, after its short form."""

_SAME = frozenset(
    {
        "client.dns.lookup",
        "client.id",
        "client.rack",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "retry.backoff.ms",
        "sasl.kerberos.service.name",
        "ssl.cipher.suites",
        "ssl.keystore.location",
        "ssl.keystore.password",
    }
)
_TUNING = ("socket.", "queued.", "queue.", "fetch.", "topic.metadata.", "statistics.", "broker.")
"""What only tunes librdkafka: nothing is lost without it."""
_QUIET = frozenset({"debug", "log_level", "compression.type", "compression.codec", "linger.ms"})
_HANDLED = frozenset(
    {
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.key.location",
        "ssl.key.pem",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification",
    }
)
_OTHER_KEY = re.compile("-----BEGIN (?!(ENCRYPTED )?PRIVATE KEY-)[A-Z ]*PRIVATE KEY-----")
"""``RSA PRIVATE KEY``: OpenSSL's older form."""
_LOGIN = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def java_settings(kafka: KafkaSettings, spark: Mapping[str, str | Secret]) -> JavaSettings:
    """Translate; what has no counterpart is left out with a warning.

    What the schedule's ``spark`` says as ``reportd.kafka.<setting of Java's client>`` is taken as
    it is, and wins. Raises `ConfigError` where leaving something out would mean another security
    than the one asked for.
    """
    own = {name.removeprefix(_OWN): value for name, value in spark.items() if name.startswith(_OWN)}
    given = kafka.librdkafka
    if "sasl.jaas.config" in own:
        given = {name: value for name, value in given.items() if not name.startswith("sasl.")}
        given |= {"sasl.mechanism": "PLAIN"}
    settings: JavaSettings = {"bootstrap.servers": kafka.servers}
    settings |= {name: value for name, value in given.items() if name in _SAME}
    if "ssl.keystore.location" in given:
        settings["ssl.keystore.type"] = "PKCS12"
    if "security.protocol" in given:
        settings["security.protocol"] = _plain(given["security.protocol"]).upper()
    settings |= _sasl(given)
    settings |= _tls(given)
    for name in _not_translated(given):
        logger.warning(
            "kafka setting %s has no counterpart in Spark's client; left out there",
            name,
            extra={"action": "kafka_setting_ignored"},
        )
    return settings | own


def _not_translated(given: Mapping[str, str | Secret]) -> Iterator[str]:
    for name in sorted(given):
        known = name in _SAME or name in _HANDLED or name in _QUIET
        if not known and not name.startswith(_TUNING):
            yield name


def _sasl(given: Mapping[str, str | Secret]) -> JavaSettings:
    if not _plain(given.get("security.protocol", "")).upper().startswith("SASL"):
        return {}
    mechanism = _plain(given.get("sasl.mechanism") or given.get("sasl.mechanisms") or "GSSAPI")
    module = _LOGIN.get(mechanism)
    if module is None:
        raise ConfigError(
            f"kafka.sasl.mechanism: {mechanism[:40]} is not translated for Spark's Java client;"
            f' give it to the schedule: spark = {{ "{_OWN}sasl.mechanism" = ...,'
            f' "{_OWN}sasl.jaas.config" = {{ secret = ... }} }}'
        )
    user, password = (
        _plain(given.get(name, "")).replace("\\", "\\\\").replace('"', '\\"')
        for name in ("sasl.username", "sasl.password")
    )
    login = f'{module} required username="{user}" password="{password}";'
    return {"sasl.mechanism": mechanism, "sasl.jaas.config": Secret(login, "sasl.jaas.config")}


def _tls(given: Mapping[str, str | Secret]) -> JavaSettings:
    if _plain(given.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        raise ConfigError(
            "kafka.enable.ssl.certificate.verification: Spark's client always verifies; give it"
            " the broker's CA with ssl.ca.location"
        )
    settings: JavaSettings = {}
    if ca := _pem(given, "ssl.ca"):
        settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": ca}
    chain, key = _pem(given, "ssl.certificate"), _pem(given, "ssl.key")
    if chain and key:
        if _OTHER_KEY.search(_plain(key)):
            raise ConfigError(
                "kafka.ssl.key: Spark's client reads a key in PKCS#8 alone, librdkafka does, too:"
                " openssl pkcs8 -topk8 -in OLD -out NEW (and -nocrypt for one without a password)"
            )
        settings |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": chain,
            "ssl.keystore.key": Secret(_plain(key), "ssl.key"),
        }
    if "ssl.key.password" in given:
        settings["ssl.key.password"] = given["ssl.key.password"]
    algorithm = given.get("ssl.endpoint.identification.algorithm")
    if algorithm is not None:
        name = _plain(algorithm)
        settings["ssl.endpoint.identification.algorithm"] = "" if name == "none" else name
    return settings


def _pem(given: Mapping[str, str | Secret], name: str) -> str | Secret | None:
    """Return a PEM text given as ``<name>.pem``, or read from ``<name>.location``."""
    if f"{name}.pem" in given:
        return given[f"{name}.pem"]
    location = _plain(given.get(f"{name}.location", ""))
    if location in {"", "probe"}:
        return None
    path = Path(location)
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"kafka.{name}.location: {path}: {error.strerror}") from None


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
