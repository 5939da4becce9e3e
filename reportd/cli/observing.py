"""Asks this VM's observer over HTTP. Used by the commands of ``reportctl``."""

import http.client
import ssl
from typing import Any

import orjson

from reportd.config.settings import MetricsSettings

ASK_SECONDS = 5.0
MOST_BYTES = 64 * 1024 * 1024
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask, not to listen


def ask_observer(metrics: MetricsSettings, path: str = "/status") -> dict[str, Any]:
    """Return one of the observer's documents.

    Raises `OSError` or `http.client.HTTPException` if it is not there, `ValueError` for another
    answer than its document.
    """
    host = EVERYWHERE.get(metrics.host, metrics.host)
    connection = (
        http.client.HTTPConnection(host, metrics.port, timeout=ASK_SECONDS)
        if metrics.tls is None
        else http.client.HTTPSConnection(
            host, metrics.port, timeout=ASK_SECONDS, context=_own_certificate(metrics)
        )
    )
    headers = {}
    if metrics.token is not None:
        headers["Authorization"] = f"Bearer {metrics.token.reveal()}"
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(MOST_BYTES)
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"it answers {answer.status}")
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError("it answers no document")  # noqa: TRY004 - what was said is wrong
    return found


def _own_certificate(metrics: MetricsSettings) -> ssl.SSLContext:
    """Trust the certificate it serves with, whatever name stands in it, and no other."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if metrics.tls is not None:
        context.load_verify_locations(metrics.tls.certificate)
    return context
