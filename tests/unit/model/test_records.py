"""Records of every released version stay readable, and say what they said."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from reportd.errors import InvalidMessageError
from reportd.model.account import Account
from reportd.model.base import Record
from reportd.model.ledger import End, Grant, PublishedFile, Step, parse_ledger_record
from reportd.model.request import Request
from reportd.model.run import Claim, Finished, Manifest, Mending
from reportd.model.vm import Vm

RECORDS = Path(__file__).parents[2] / "data/records"
TYPES: dict[str, type[Record]] = {
    "request": Request,
    "end": End,
    "step": Step,
    "grant": Grant,
    "claim": Claim,
    "manifest": Manifest,
    "finished": Finished,
    "mending": Mending,
    "account": Account,
    "vm": Vm,
}
GOLDEN = sorted(path.stem for path in RECORDS.glob("*.json"))


def golden(name: str) -> bytes:
    """Return a golden file's bytes."""
    return (RECORDS / f"{name}.json").read_bytes()


def is_in(old: Any, new: Any) -> bool:
    """Say whether all of an old document stands in a new one; fields may have come to it."""
    if isinstance(old, dict):
        return all(name in new and is_in(old[name], new[name]) for name in old)
    if isinstance(old, list):
        return len(old) == len(new) and all(is_in(*pair) for pair in zip(old, new, strict=True))
    return bool(old == new)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_record_loses_nothing(name: str) -> None:
    """What an earlier version wrote is read, and every field of it is understood."""
    data = golden(name)
    record = TYPES[name.partition("-")[0]].from_json(data)

    assert is_in(orjson.loads(data), orjson.loads(record.to_json()))


@pytest.mark.parametrize("kind", TYPES)
def test_every_kind_of_record_has_a_golden_file(kind: str) -> None:
    """A new kind of record is pinned down before it is released."""
    assert any(name.startswith(f"{kind}-1") for name in GOLDEN)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("end")])
def test_golden_ends_are_told_by_their_type(name: str) -> None:
    """A ledger holds three kinds of record; the type says which one it is."""
    record = parse_ledger_record(golden(name))

    assert isinstance(record, End)
    assert record.state == name.removeprefix("end-1-")


def test_a_golden_result_names_its_files() -> None:
    """A result's files are read with all they say."""
    record = parse_ledger_record(golden("end-1-result"))

    assert isinstance(record, End)
    assert record.files == (
        PublishedFile(
            path="acme/campaigns/123/2026-11-15.parquet",
            day="2026-11-15",
            format="parquet",
            rows=7,
            bytes=1234,
            checksum="sha256:" + "0" * 64,
            provisional=True,
        ),
    )


def test_golden_steps_and_grants_are_told_apart() -> None:
    """A step goes on from its cursor; a grant counts units."""
    step, grant = parse_ledger_record(golden("step-1")), parse_ledger_record(golden("grant-1"))

    assert isinstance(step, Step)
    assert (step.attempt, step.step, step.cursor) == (1, 2, {"page": "3"})
    assert (step.picked, step.dropped) == ({}, 0)
    picked = parse_ledger_record(golden("step-1-picked"))
    assert isinstance(picked, Step)
    assert (picked.picked, picked.dropped) == ({"report": "r-77", "ids": ["1", "2"]}, 1)
    assert isinstance(grant, Grant)
    assert grant.units == 50


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"type":"else"}',
        b'{"v":2,"type":"grant","scope":"a","window":"b","units":1,"at":0}',
        b'{"v":1,"type":"grant","scope":"a","window":"b","units":"many","at":0}',
        b'{"v":1,"type":"end","id":"a","topic":"t","offset":1,"state":"lost"}',
    ],
)
def test_what_is_no_ledger_record_is_refused(data: bytes) -> None:
    """A foreign record in a ledger is told apart from ours."""
    with pytest.raises(InvalidMessageError):
        parse_ledger_record(data)


def test_a_later_versions_fields_are_passed_over() -> None:
    """A newer worker's record of the same version is read by an older one."""
    data = orjson.dumps({**orjson.loads(golden("step-1")), "colour": "blue"})

    assert parse_ledger_record(data) == parse_ledger_record(golden("step-1"))


def test_records_cannot_be_changed() -> None:
    """A record is a value: threads may share it."""
    record = Request.from_json(golden("request-1"))
    with pytest.raises(ValueError, match="frozen"):
        record.run = "other"  # type: ignore[misc]  # that is the test


def test_what_is_none_is_left_out() -> None:
    """Fields that say nothing take no room."""
    assert b"not_before" not in Request.from_json(golden("request-1-least")).to_json()
