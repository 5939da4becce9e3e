"""Recorded answers of real partners on the worker's whole way: asked over HTTP, stored as files."""

import datetime
import gzip
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from reportd.config.secrets import Secret
from reportd.demo.simulator.config import SimulatorConfig
from reportd.demo.simulator.process import Simulator
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from reportd.partners.verdict import Outcome
from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from reportd.sinks.spool import Spool
from reportd.transport.client import Client
from reportd.transport.credentials import Credentials
from reportd.transport.exchange import Answer
from reportd.worker.calling import PartnerCaller
from reportd.worker.entry import Entry
from reportd.worker.fence import Fence
from reportd.worker.storing import Output
from tests.recorded import CASES
from tests.unit.worker.making import StoppedClock, entry

DATA = Path(__file__).parents[2] / "data"
FORMATS = ("parquet", "csv.gz", "jsonl")


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Serve the recorded answers."""
    log = tmp_path_factory.mktemp("recorded") / "calls"
    config = SimulatorConfig(partners=(), log=str(log), recorded=str(DATA / "recorded"))
    with Simulator(config) as running:
        yield running


def partner_at(simulator: Simulator, name: str, report: str, file: str) -> Partner:
    """Return a partner as its file says, but for where the report's answer comes from."""
    text = (DATA / "partners" / "recorded" / f"{name}.toml").read_text()
    said = tomllib.loads(text)
    asked = said["reports"][report]
    method = "get" if "get" in asked else "post"
    asked[method] = f"http://127.0.0.1:{simulator.port}/_recorded/{name}/{file}"
    said |= {
        "hosts": [f"127.0.0.1:{simulator.port}"],
        "allow_private": True,
        "reports": {report: asked},
    }
    return Partner(name, parse_spec(said, name))


def stored(root: Path, partner: Partner, one: Entry) -> Path:
    """Ask for a request and publish what comes; return the report's folder."""
    clock, fence, store = StoppedClock(), Fence(45.0, 3.0), LocalStore(root)
    fence.commit_accepted(clock.boottime())
    partners = {partner.name: partner}
    client = Client()
    caller = PartnerCaller(
        partners, client, Credentials(lambda _name: Secret("s3cret")), clock.wall
    )
    output = Output(
        partners=partners,
        publisher=Publisher(store, PathTemplate("{partner}/{report}/{account}/{date}.{ext}")),
        spool=Spool(store),
        fence=fence,
        clock=clock,
        secrets_of=caller.secrets_of,
    )
    answer, verdict = caller.call(one)
    client.close()
    assert isinstance(answer, Answer)
    assert (verdict.outcome, verdict.next_cursor) == (Outcome.OK, None)
    (outcome,) = output.publish_all([output.prepare(one, answer.body)])
    assert not isinstance(outcome, Exception), outcome
    return root / partner.name / one.request.report / one.request.account


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the expectations write it."""

    def one(value: Any) -> Any:
        if isinstance(value, datetime.date):
            return value.isoformat()
        return str(value) if isinstance(value, Decimal) else value

    return {name: one(value) for name, value in row.items()}


@pytest.mark.parametrize(("name", "report", "file", "first", "last"), CASES)
def test_recorded_answers_become_files(
    simulator: Simulator,
    tmp_path: Path,
    name: str,
    report: str,
    file: str,
    first: str,
    last: str,
) -> None:
    """One download, a file a day and format; the rows are those that were written down by hand."""
    one = entry(
        "acc-1",
        partner=name,
        report=report,
        first_day=first,
        last_day=last or first,
        formats=FORMATS,
        timezone="Europe/Zurich",
        currency="CHF",
        attributes={"manager": "77"},
    )

    folder = stored(tmp_path, partner_at(simulator, name, report, file), one)

    expected = orjson.loads((DATA / "partners" / "expected" / f"{name}.{report}.json").read_bytes())
    found = {
        path.stem: [plain(row) for row in pq.ParquetFile(path).read().to_pylist()]
        for path in sorted(folder.glob("*.parquet"))
    }
    assert found == expected
    for day, rows in expected.items():
        lines = gzip.decompress((folder / f"{day}.csv.gz").read_bytes()).splitlines()
        records = [*map(orjson.loads, (folder / f"{day}.jsonl").read_bytes().splitlines())]
        assert (len(lines) - 1, len(records)) == (len(rows), len(rows))
        assert [set(record) for record in records] == [set(row) for row in rows]
    assert len(list(folder.iterdir())) == len(expected) * len(FORMATS)
