"""Partners, requests and answers for tests, in few words."""

import tomllib
from typing import Any

import orjson

from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer

NOW = 1_763_784_000.0
"""2025-11-22T04:00:00Z."""
AUTH = Auth(
    headers=(("Authorization", "Bearer hunter2-token"),),
    query=(("key", "k3y/secret"),),
    secrets=("hunter2-token", "k3y/secret"),
)

TOP = 'hosts = ["api.acme.com"]\n'
REPORT = """
[reports.stats]
get = "https://api.acme.com/v2/{{ account.id }}/stats?from={{ from }}&to={{ to }}"
rows = "data[]"
day_column = "date"
columns = { date = "date", clicks = "int64" }
"""


def partner(top: str = "", report: str = "", *, base: str = REPORT) -> Partner:
    """Compile a partner file: additions to its top and to its one report."""
    return Partner("acme", parse_spec(tomllib.loads(TOP + top + base + report), "acme.toml"))


def request(**fields: Any) -> Request:
    """Make a valid request for it."""
    return Request.model_validate(
        {
            "v": 1,
            "run": "daily/2025-11-22T04:00Z#1",
            "partner": "acme",
            "report": "stats",
            "account": "acc-1",
            "first_day": "2025-11-15",
            "last_day": "2025-11-21",
            "formats": ["parquet"],
            "timezone": "Europe/Zurich",
            "currency": "CHF",
            "credential": "main",
            **fields,
        }
    )


def flow(of: Partner, auth: Auth = AUTH, **fields: Any) -> Flow:
    """Make the flow of a valid request."""
    return Flow(of, request(**fields), auth)


def answer(body: Any = b"", status: int = 200, **headers: str) -> Answer:
    """Make an answer; anything but bytes becomes JSON; ``retry_after="3"`` is a header."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=data, seconds=0.1)
