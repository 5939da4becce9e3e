"""A real Prometheus scrapes an observer from elsewhere: with its token, over TLS."""

from pathlib import Path
from typing import Any

import pytest

from reportd.config.secrets import Secret
from reportd.metrics import Metrics
from tests.integration.observer.test_web import LOCAL, Health, self_signed, serving
from tests.prometheus import Prometheus
from tests.system.stage import until


@pytest.mark.parametrize(("sent", "up"), [("open sesame", 1.0), ("open", 0.0)])
def test_scrape_with_token_and_tls(promtool: str, tmp_path: Path, sent: str, up: float) -> None:
    """As docs/monitoring.rst has it; without the right token it sees nothing."""
    assert promtool
    tls = self_signed(tmp_path)
    (tmp_path / "token").write_text(sent)
    scrape: dict[str, Any] = {
        "scheme": "https",
        "tls_config": {"ca_file": str(tls.certificate)},
        "authorization": {"credentials_file": str(tmp_path / "token")},
    }
    health = Health()
    book = Metrics.in_memory()
    book.rows.inc("acme", by=3)
    health.registry.register(book.registry)
    settings = LOCAL.model_copy(update={"tls": tls, "token": Secret("open sesame")})
    with (
        serving(settings, health) as web,
        Prometheus(tmp_path / "prometheus", [web.address], scrape) as prometheus,
    ):
        until(lambda: prometheus.value('up{job="reportd"}') == up, f"a scrape: {up}")
        rows = prometheus.value("reportd_rows_total")

    assert rows == (3.0 if up else None)
