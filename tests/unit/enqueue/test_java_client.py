import logging
from pathlib import Path

import pytest

from reportd.config.secrets import Secret
from reportd.config.settings import KafkaSettings
from reportd.enqueue.java_client import java_settings
from reportd.enqueue.spark_requests import Kafka
from reportd.errors import ConfigError


def kafka(**given: str | Secret) -> KafkaSettings:
    names = {name.replace("_", "."): value for name, value in given.items()}
    return KafkaSettings(servers="k1:9093", librdkafka=names)


def test_plain_broker_needs_nothing() -> None:
    """Without further settings there are the servers alone."""
    assert java_settings(kafka(), {}) == {"bootstrap.servers": "k1:9093"}


def test_scram_over_tls_is_translated(tmp_path: Path) -> None:
    """User, password and CA reach Java's client in its own words, quotes escaped."""
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    settings = java_settings(
        kafka(
            security_protocol="sasl_ssl",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="me",
            sasl_password=Secret('p"w\\d'),
            ssl_ca_location=str(tmp_path / "ca.pem"),
        ),
        {},
    )
    login = settings.pop("sasl.jaas.config")

    assert settings == {
        "bootstrap.servers": "k1:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----",
    }
    assert isinstance(login, Secret)
    assert login.reveal() == (
        "org.apache.kafka.common.security.scram.ScramLoginModule required"
        ' username="me" password="p\\"w\\\\d";'
    )


def test_client_certificate_is_translated(tmp_path: Path) -> None:
    """Certificate and key are handed over as PEM, the key as a secret."""
    (tmp_path / "c.pem").write_text("CERT")
    settings = java_settings(
        kafka(
            security_protocol="ssl",
            ssl_certificate_location=str(tmp_path / "c.pem"),
            ssl_key_pem=Secret("KEY"),
            ssl_key_password=Secret("open"),
            ssl_endpoint_identification_algorithm="none",
        ),
        {},
    )

    assert settings["ssl.keystore.certificate.chain"] == "CERT"
    assert settings["ssl.keystore.key"] == Secret("KEY")
    assert settings["ssl.key.password"] == Secret("open")
    assert not settings["ssl.endpoint.identification.algorithm"]


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("PRIVATE KEY", True),
        ("ENCRYPTED PRIVATE KEY", True),
        ("RSA PRIVATE KEY", False),
        ("EC PRIVATE KEY", False),
    ],
)
def test_a_key_that_java_cannot_read_is_named(kind: str, taken: bool) -> None:
    """The daemon could, so the enqueuer says what to do, without the key."""
    key = Secret(f"-----BEGIN {kind}-----\nhunter2\n-----END {kind}-----\n")
    given = kafka(security_protocol="ssl", ssl_certificate_pem="CERT", ssl_key_pem=key)

    if taken:
        assert java_settings(given, {})["ssl.keystore.key"] == key
        return
    with pytest.raises(ConfigError, match="pkcs8 -topk8") as raised:
        java_settings(given, {})
    assert "hunter2" not in str(raised.value)


def test_no_secret_shows() -> None:
    """Neither the translation's repr nor that of what Spark is given shows a value."""
    settings = java_settings(
        kafka(
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username="me",
            sasl_password=Secret("hunter2"),
        ),
        {},
    )
    given = Kafka(settings, "g")

    assert "hunter2" not in repr(settings) + repr(given)
    assert "hunter2" in given.sink()["kafka.sasl.jaas.config"]


def test_unknown_settings_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """What has no counterpart is said, what only tunes librdkafka is not."""
    with caplog.at_level(logging.WARNING):
        java_settings(kafka(socket_keepalive_enable="true", security_providers="x"), {})

    (said,) = caplog.messages
    assert "security.providers" in said


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}, "sasl.mechanism"),
        ({"security_protocol": "SASL_SSL"}, "GSSAPI"),
        ({"enable_ssl_certificate_verification": "false"}, "verification"),
        ({"ssl_ca_location": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
    ],
)
def test_weaker_security_is_refused(given: dict[str, str], named: str) -> None:
    """What cannot be kept is an error, never left out."""
    with pytest.raises(ConfigError, match=named):
        java_settings(kafka(**given), {})


def test_javas_own_settings_win() -> None:
    """A schedule can say it in Java's words, for what is not translated."""
    own: dict[str, str | Secret] = {
        "spark.reportd.kafka.sasl.mechanism": "OAUTHBEARER",
        "spark.reportd.kafka.sasl.jaas.config": Secret("login"),
        "spark.executor.cores": "2",
    }
    given = kafka(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER")

    assert java_settings(given, own) == {
        "bootstrap.servers": "k1:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.jaas.config": Secret("login"),
    }
