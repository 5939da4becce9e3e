"""All else that comes from outside, damaged: records of topics, partner files, tokens."""

import tomllib
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reportd.errors import ConfigError, InvalidMessageError
from reportd.model.account import Account
from reportd.model.control import read_control
from reportd.model.ledger import parse_ledger_record
from reportd.model.request import Request
from reportd.model.run import parse_run_record
from reportd.model.vm import Vm
from reportd.partners.extending import catalogue_files
from reportd.partners.flow import Flow
from reportd.partners.load import load_partner, parse_spec
from reportd.partners.partner import Partner
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer
from reportd.transport.token_files import TokenState
from reportd.transport.token_request import TokenPlan, token_in
from tests.fuzz.damage import TOKENS, damaged
from tests.unit.partners.making import NOW, answer, request

RECORDS = Path(__file__).parents[1] / "data/records"
CONTROL = (
    b'{"v":1,"scope":"acme/12-3","action":"slow","at":1.0,"until":2.0,"rate":0.5,'
    b'"reason":"r","who":"w"}'
)
READ: dict[str, Callable[[bytes], object]] = {
    "request": Request.from_json,
    "end": parse_ledger_record,
    "step": parse_ledger_record,
    "grant": parse_ledger_record,
    "claim": parse_run_record,
    "manifest": parse_run_record,
    "account": Account.from_json,
    "vm": Vm.from_json,
}
VALUES = 60
PLAN = TokenPlan(partner="acme", grant="refresh_token", url="https://a", hosts=("a",))
STATE = TokenState(access="access", minted_at=1.0, refresh_at=2.0, ends_at=3.0)


@pytest.mark.parametrize("kind", READ)
def test_records_are_read_or_refused(kind: str) -> None:
    """Whoever may write to a topic can send anything: it is a poison message, never a crash."""
    files = [path.read_bytes() for path in sorted(RECORDS.glob(f"{kind}-*.json"))]
    refused = 0
    for seed in range(500):
        random = Random(seed)
        try:
            READ[kind](damaged(random.choice(files), random, files))
        except InvalidMessageError:
            refused += 1
    assert refused > 100


def test_controls_are_read_or_refused() -> None:
    """A damaged one pauses nothing."""
    for seed in range(1000):
        random = Random(seed)
        key = b"acme/12-3" if random.random() < 0.7 else damaged(b"acme/12-3", random, [CONTROL])
        try:
            scope, control = read_control(key, damaged(CONTROL, random, [CONTROL]))
        except InvalidMessageError:
            continue
        assert control is None or control.scope == scope


def test_partner_files_are_loaded_or_refused(tmp_path: Path) -> None:
    """A file with anything wrong is refused with its mistakes, and nothing else happens."""
    texts = [path.read_bytes() for path in catalogue_files().values()]
    path = tmp_path / "acme.toml"
    for seed in range(100):
        random = Random(seed)
        path.write_bytes(damaged(random.choice(texts), random, texts))
        with suppress(ConfigError):
            load_partner(path)


def test_values_of_partner_files_are_taken_or_refused() -> None:
    """Another value somewhere: what is loaded makes its calls, and judges answers."""
    files = [tomllib.loads(path.read_text()) for path in catalogue_files().values()]
    loaded = 0
    for seed in range(VALUES):
        random = Random(seed)
        data = deepcopy(random.choice(files))
        for _ in range(random.choice((1, 1, 2))):
            _change(data, random)
        try:
            of = Partner("acme", parse_spec(data, "acme.toml"))
        except ConfigError:
            continue
        loaded += 1
        _walk(of, random)
    assert loaded > 5


def _change(data: Any, random: Random) -> None:
    """Put another value, or none, in one place of a document."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        if not keys:
            return
        key = random.choice(keys)
        if isinstance(data[key], dict | list) and data[key] and random.random() < 0.85:
            data = data[key]
            continue
        if random.random() < 0.2:
            del data[key]
            return
        data[key] = random.choice(
            (0, -1, 1.5, 10**18, True, None, "", [], {}, [[]], {"x": {}}, _text(data[key], random))
        )
        return


def _text(value: Any, random: Random) -> str:
    """Change a text a little, as somebody who edits it does."""
    text = value if isinstance(value, str) else "{{ account.id }}"
    at = random.randrange(len(text) + 1)
    put = random.choice((*TOKENS[:40], b"{{", b"}}", b"{%", b"(", b"*", b"`", b"'", b"."))
    return text[:at] + put.decode("utf-8", "replace")[:50] + text[at + random.choice((0, 1, 9)) :]


def _walk(of: Partner, random: Random) -> None:
    """Make the first call of each report, and judge two answers to it."""
    for name in of.reports:
        asked = request(partner="acme", report=name, attributes={"profile": "1", "manager": "2"})
        try:
            of.check_request(asked)
            flow = Flow(of, asked, Auth())
            flow.call({})
        except InvalidMessageError:
            continue
        for found in (answer({"code": 0, "data": []}), answer(b"", random.choice((400, 429, 503)))):
            flow.judge({}, found, NOW)


def test_token_states_are_read_or_empty() -> None:
    """A file that was damaged is as good as none: a token is fetched."""
    for seed in range(1000):
        random = Random(seed)
        state = TokenState.of_json(damaged(STATE.to_json(), random, [b'{"access":1}']))
        assert isinstance(state.is_fresh(2.0, "x"), bool)
        assert isinstance(state.access + state.unstored + state.reason, str)


def test_answers_of_token_servers_are_taken_or_trouble() -> None:
    """Whatever comes: a token that a header can carry, or a reason."""
    good = b'{"access_token":"t","expires_in":3600,"refresh_token":"r"}'
    for seed in range(1000):
        random = Random(seed)
        body = damaged(good, random, [b'{"error":"invalid_grant","error_description":"no"}'])
        found = token_in(
            PLAN,
            Answer(status=random.choice((200, 400, 401, 503)), headers={}, body=body, seconds=0.1),
        )
        assert isinstance(getattr(found, "access", getattr(found, "reason", None)), str)
