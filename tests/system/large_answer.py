"""One large answer, from the partner's server to the files, in a process that tells its memory.

``python -m tests.system.large_answer URL FORM ROOT`` calls, judges, parses and publishes as a
worker does, then prints JSON: the highest resident memory ever, seconds, rows of each file.
"""

import gzip
import json
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import reportd.worker.main  # noqa: F401 - all that a worker has in memory counts
from reportd.clock import SystemClock
from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from reportd.partners.verdict import Outcome
from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from reportd.sinks.spool import Spool
from reportd.transport.client import Client
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer
from reportd.worker.entry import Entry
from reportd.worker.fence import Fence
from reportd.worker.storing import Output
from tests.unit.worker.making import entry

DAYS = 28
BLOCK_ROWS = 8_000
MIB = 1024 * 1024
LISTS_END = b'], "head": ["clicks", "date", "cost", "campaign"]}'
FILE = """
hosts = ["{host}"]
allow_private = true
[reports.stats]
get = "{url}"
timeout_seconds = 3600
day_column = "date"
{form}
columns = {{ date = "date", campaign = "string", clicks = "int64", cost = "decimal(18,6)" }}
"""
LARGE = "max_answer_mib = 4096\n"
FORMS: Mapping[str, str] = {
    "csv": f'{LARGE}format = "csv"\ncsv = {{ header_starts = "date", footer_lines = 1 }}',
    "jsonl": f'{LARGE}format = "jsonl"',
    "batches": f'{LARGE}rows = "[].results[]"',
    "data": f'{LARGE}rows = "data.list"',
    "lists": f'{LARGE}rows = "rows || `[]`"\nlists = {{ names = "head", values = "v" }}',
    "values": f'{LARGE}rows = "values(@)[]"',
    "nested": f'{LARGE}rows = "groups[].group"\nunfold = "of"',
    "row": 'rows = "groups[].group"\nunfold = "of"',
    "whole": 'rows = "data[0:999999999]"',
    "columns": 'rows = "data"\nlists = { by = "column" }',
}
"""What the partner's file says of each form; ``csv.gz`` and ``csv.zip`` are CSV to it. Of the last
three memory has to hold all."""


def _rows(block: int) -> Iterator[tuple[str, str, int, str]]:
    """Yield rows of all days, as partners send them that sort by something else."""
    for row in range(BLOCK_ROWS):
        day = f"2026-10-{1 + (row + block) % DAYS:02d}"
        yield day, f'Kämpagne "{row}", neu', row, f"{row % 977}.{row % 89:02d}5"


def _csv(block: int) -> bytes:
    return "".join(
        f'{day},"{name.replace(chr(34), chr(34) * 2)}",{clicks},{cost}\n'
        for day, name, clicks, cost in _rows(block)
    ).encode()


def _objects(block: int) -> list[bytes]:
    return [
        json.dumps({"date": day, "campaign": name, "clicks": clicks, "cost": cost}).encode()
        for day, name, clicks, cost in _rows(block)
    ]


def _lists(block: int) -> bytes:
    return b",\n".join(
        json.dumps({"v": [clicks, day, cost, name]}).encode()
        for day, name, clicks, cost in _rows(block)
    )


def _columns(size: int) -> Iterator[bytes]:
    """Yield four lists of the shortest values there may be: what takes the most memory."""
    rows = size // len('"2026-10-01","a",257,"1",')
    yield b'{"data": {'
    for number, (name, values) in enumerate(
        {
            "date": [f'"2026-10-{1 + day:02d}"' for day in range(DAYS)],
            "campaign": ['"a"'],
            "clicks": ["257"],
            "cost": ['"1"'],
        }.items()
    ):
        yield f'{"," if number else ""}"{name}":['.encode()
        times = -(-rows // DAYS)
        yield ",".join(values * (times * DAYS // len(values))).encode()
        yield b"]"
    yield b"}}"


def pieces(form: str, size: int) -> Iterator[bytes]:
    """Yield an answer of about that size."""
    plain = form.partition(".")[0]
    if plain == "columns":
        yield from _columns(size)
        return
    begin, between, end, block = {
        "csv": (b"Report\n\ndate,campaign,clicks,cost\n", b"", b'\n"(c) all of us"\n', _csv),
        "jsonl": (b"", b"", b"", lambda at: b"".join(one + b"\n" for one in _objects(at))),
        "batches": (
            b"[",
            b",",
            b"]",
            lambda at: b'{"results": [%b], "id": "%d"}' % (b", ".join(_objects(at)), at),
        ),
        "data": (b'{"data": {"list": [', b",\n", b"]}}", lambda at: b",\n".join(_objects(at))),
        "row": (
            b'{"groups": [{"group": {"of": [',
            b",\n",
            b"]}}]}",
            lambda at: b",\n".join(_objects(at)),
        ),
        "whole": (b'{"data": [', b",\n", b"]}", lambda at: b",\n".join(_objects(at))),
        "lists": (b'{"rows": [', b",\n", LISTS_END, _lists),
        "values": (b"{", b",\n", b"}", lambda at: b"[%b]" % b", ".join(_objects(at))),
        "nested": (
            b'{"groups": [',
            b",\n",
            b"]}",
            lambda at: b'{"group": {"of": [%b], "id": "%d"}}' % (b", ".join(_objects(at)), at),
        ),
    }[plain]
    blocks = [block(at) for at in range(DAYS)]
    yield begin
    written = 0
    while written < size:
        if written:
            yield between
        if plain == "values":
            yield b'"%d":' % written
        yield blocks[written % DAYS]
        written += len(blocks[0])
    yield end


def write(path: Path, form: str, size: int) -> None:
    """Write an answer of about that size, unpacked."""
    packing = form.partition(".")[2]
    if packing == "zip":
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("report.csv", "w", force_zip64=True) as member,
        ):
            member.writelines(pieces(form, size))
    else:
        with gzip.open(path, "wb", 1) if packing else path.open("wb") as file:
            file.writelines(pieces(form, size))


def main(url: str, form: str, root: Path) -> dict[str, Any]:
    """Do it; return what is to be told."""
    plain = form.partition(".")[0]
    text = FILE.format(host=urlsplit(url).netloc, url=url, form=FORMS[plain])
    partner = Partner("acme", parse_spec(tomllib.loads(text), "acme.toml"))
    one = entry(first_day="2026-10-01", last_day=f"2026-10-{DAYS}", formats=["parquet", "csv.gz"])
    clock = SystemClock()
    fence = Fence(86_400.0, 3.0)
    fence.commit_accepted(clock.boottime())
    root.mkdir()
    store = LocalStore(root)
    output = Output(
        partners={"acme": partner},
        publisher=Publisher(store, PathTemplate("{partner}/{report}/{account}/{date}.{ext}")),
        spool=Spool(store),
        fence=fence,
        clock=clock,
        secrets_of=lambda _request: (),
    )
    began = time.monotonic()
    answer, verdict = _called(partner, one.request)
    assert verdict is Outcome.OK
    called = time.monotonic()
    published, _ = _stored(output, one, answer)
    return {
        "peak_bytes": _peak_bytes(),
        "call_seconds": called - began,
        "store_seconds": time.monotonic() - called,
        "rows": [file.rows for file in published],
    }


def _called(partner: Partner, request: Request) -> tuple[Answer, Outcome]:
    flow = Flow(partner, request, Auth())
    answer = Client().send(flow.call({}))
    assert isinstance(answer, Answer), answer
    return answer, flow.judge({}, answer, time.time()).outcome


def _stored(output: Output, one: Entry, answer: Answer) -> Any:
    (outcome,) = output.publish_all([output.prepare(one, answer.body)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
