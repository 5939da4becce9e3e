"""The accounts that a credential can see, as rows of the accounts table. Pure."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import available_timezones

from reportd.errors import ConfigError
from reportd.model.content import Content
from reportd.model.request import Request
from reportd.partners.parse import to_table
from reportd.partners.partner import Partner

REPORT = "accounts"
NOBODY = "accounts"
"""Stands in the place of the account in the record of a request for accounts."""
_FIRST = ("partner", "account", "timezone", "currency", "credential", "active")


def asking_for_accounts(partner: Partner) -> Partner:
    """Return a partner whose one report is its list of accounts; raises `ConfigError`."""
    spec = partner.spec
    if spec.accounts is None:
        raise ConfigError(
            f"{partner.name}: its file does not say how accounts are listed; add [accounts],"
            " see docs/partners.rst"
        )
    limits = tuple(limit for limit in spec.limits if not limit.reports)
    changes = {"reports": {REPORT: spec.accounts}, "limits": limits}
    return Partner(partner.name, spec.model_copy(update=changes))


def without_account(request: Request) -> Request:
    """Return a request for accounts as templates see it: headers with an empty account go."""
    return request.model_copy(update={"account": ""})


def account_rows(
    partner: Partner, request: Request, bodies: Sequence[Content], now_wall: float
) -> list[dict[str, str]]:
    """Return the accounts of a request's answers, each with the same columns in their order.

    Raises `UnexpectedAnswerError`.
    """
    table = to_table(partner, request, [body for body in bodies if body], now_wall)
    rows = [
        {"partner": partner.name, "credential": request.credential, **_texts(row)}
        for row in table.to_pylist()
    ]
    columns = {"partner", "credential", *table.column_names}
    ordered = [name for name in _FIRST if name in columns]
    ordered += [name for name in table.column_names if name not in ordered]
    return [{name: row[name] for name in ordered} for row in rows]


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as the CSV file that a schedule's ``accounts`` may name."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]) if rows else _FIRST[:5], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def account_problems(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield what the enqueuer would refuse of such a table."""
    zones = available_timezones()
    seen: set[str] = set()
    for row in rows:
        account, zone = row["account"], row.get("timezone", "")
        if not account:
            yield "an account without a name"
        if account in seen:
            yield f"account {account!r} stands there more than once"
        seen.add(account)
        if zone and zone not in zones:
            yield f"account {account!r}: {zone[:64]!r} is no IANA time zone"
