"""The list of accounts in a partner file."""

import pytest

from reportd.errors import ConfigError
from tests.unit.partners.making import partner

ACCOUNTS = """
[accounts]
get = "https://api.acme.com/v2/accounts"
rows = "data[]"
next = { cursor = "paging.next", query = "after" }
[accounts.columns]
account = { from = "account_id", type = "string" }
timezone = "string"
team = { from = "owner.team", type = "string", optional = true }
"""


def test_it_is_written_as_a_report() -> None:
    """Pages and columns are those of a report; nobody can schedule it."""
    found = partner(report=ACCOUNTS)

    assert found.spec.accounts is not None
    assert ["account", "timezone", "team"] == list(found.spec.accounts.columns)
    assert ["stats"] == list(found.reports)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('account = {', 'acount = {', "accounts.columns: account is missing"),
        ('"account_id", type = "string"', '"account_id", type = "int64"',
         "accounts.columns.account: its type is not string"),
        ('type = "string" }\ntimezone', 'type = "string", optional = true }\ntimezone',
         "accounts.columns.account: optional, but"),
        ('timezone = "string"', 'timezone = "date"', "accounts.columns.timezone: its type is not"),
        ('timezone = "string"', 'partner = "string"', "accounts.columns.partner: no name for"),
        ('timezone = "string"', 'active = "date"', "accounts.columns.active: its type is neither"),
        ("v2/accounts", "v2/{{ account.id }}", "accounts.get: account.id: there is no account"),
        ("api.acme.com/v2/accounts", "b.com/x", "accounts.get: not a host that the partner file"),
    ],
)  # fmt: skip
def test_mistakes(old: str, new: str, wanted: str) -> None:
    """What would make no accounts table is said when the file is loaded."""
    with pytest.raises(ConfigError) as caught:
        partner(report=ACCOUNTS.replace(old, new))

    assert [True] == [line.startswith(f"acme.toml: {wanted}") for line in caught.value.problems]
