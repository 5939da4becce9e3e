"""A real Prometheus scrapes from elsewhere, with a token, over TLS; and what a scrape costs."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from reportd.config.secrets import Secret
from reportd.metrics import Metrics
from tests.integration.observer.test_web import LOCAL, Health, ask, self_signed, serving
from tests.prometheus import Prometheus
from tests.system.stage import until
from tests.unit.observer.test_exposition import (
    PARTNERS,
    WORKERS,
    Files,
    HandClock,
    counted,
    observer,
)


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


def test_scrape_of_the_largest_vm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What 64 workers have counted for 14 partners, over HTTP; how long it takes is printed."""
    counted(tmp_path / "metrics")
    looking = observer(Files(tmp_path / "metrics", HandClock()), tmp_path)
    looking.turn()
    health = Health()
    health.registry.register(looking.counted)
    health.registry.register(looking.gauges)
    taken = []
    with serving(LOCAL, health) as web:
        for _ in range(20):
            began = time.perf_counter()
            status, text = ask(web, "/metrics")
            taken.append(time.perf_counter() - began)
            assert status == 200
            assert text.count("reportd_calls_total{") == 6 * PARTNERS
    with capsys.disabled():
        print(
            f"\na scrape of {WORKERS} workers and {PARTNERS} partners, {len(text):,} bytes: "
            f"median {1000 * median(taken):.1f} ms, longest {1000 * max(taken):.1f} ms"
        )
