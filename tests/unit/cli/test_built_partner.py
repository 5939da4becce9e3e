"""The partner that ``docs/partners.rst`` builds from nothing: its rows come out as it says."""

import re
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.partners.recording import Recorder, new_recording
from reportd.transport.exchange import Call
from tests.unit.partners.making import NOW, answer, request

DOCS = Path(__file__).parents[3] / "docs/partners.rst"
HOST = "https://api.criteo.com/preview"
CSV = (
    b"AdsetId;Day;Currency;Displays;Clicks;AdvertiserCost\n"
    b"54321;2026/11/20;EUR;2534;35;12.3456\n"
    b"54321;2026/11/21;EUR;2534;35;12.3456\n"
)


def status(state: str) -> dict[str, object]:
    return {"data": {"id": "r-1", "attributes": {"status": state}}}


def test_the_partner_of_the_docs_gives_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made, refused once, polled, and read: the blocks of the page are one file that works."""
    blocks = re.findall(r"    # criteo\.toml.*\n((?:    .*\n|\n)+)", DOCS.read_text())
    file = tmp_path / "criteo.toml"
    file.write_text(re.sub("^    ", "", "".join(blocks), flags=re.MULTILINE))
    exchanges = [
        ("POST", "/reports/async-statistics", answer(status("pending"))),
        ("GET", "/reports/r-1/status", answer(b"", 429, x_ratelimit_reset=str(int(NOW) + 30))),
        ("GET", "/reports/r-1/status", answer(status("pending"))),
        ("GET", "/reports/r-1/status", answer(status("done"))),
        ("GET", "/reports/r-1/output", answer(CSV)),
    ]
    answers = [each for *_, each in exchanges]
    days = {"first_day": "2026-11-20", "last_day": "2026-11-21", "account": "1003"}
    asked = request(partner="criteo", report="statistics", currency="EUR", **days)
    new_recording(tmp_path / "first", asked)
    recorder = Recorder(lambda _call: answers.pop(0), tmp_path / "first", lambda: NOW, lambda: ())
    for method, path, _ in exchanges:
        recorder.send(Call(method=method, url=HOST + path, hosts=("api.criteo.com",)))
    recorder.close()

    options = ("--replay", str(tmp_path / "first"), "--config", str(tmp_path / "nothing.toml"))
    assert 0 == reportctl.main(["partner", "try", str(file), *options])

    said = capsys.readouterr().out
    assert '"advertiserIds":["1003"],"startDate":"2026-11-20","endDate":"2026-11-21"' in said
    assert "     goes on at step = status\n" in said
    assert "rule slow_down[1] decides" in said
    assert re.search(r"54321 +2026-11-20 +EUR +2,534 +35 +12\.3456", said)
    assert "criteo/statistics/date=2026-11-21/1003.parquet  1 rows" in said
