"""``[accounts]``: how a partner lists the accounts that a credential can see. Pure.

It is written as a report is, steps and pages included; its columns are those of the accounts table.
"""

from collections.abc import Iterator

from reportd.config.problems import Location
from reportd.partners.report_spec import ReportSpec
from reportd.partners.templates import mentions

TEXTS = ("account", "timezone", "currency", "credential")
"""Columns of the accounts table that must be text; others but these are attributes."""


def accounts_problems(spec: ReportSpec) -> Iterator[tuple[Location, str]]:
    """Yield what keeps a report's rows from being accounts."""
    columns = spec.columns
    if "account" not in columns:
        yield ("columns",), "account is missing: the column that names the accounts"
    elif columns["account"].optional:
        yield ("columns", "account"), "optional, but every account needs its name"
    for name in TEXTS:
        if name in columns and columns[name].kind != "string":
            yield ("columns", name), "its type is not string"
    if "active" in columns and columns["active"].kind not in ("bool", "string"):
        yield ("columns", "active"), "its type is neither bool nor string"
    for name in ("id", "partner"):
        if name in columns:
            yield ("columns", name), "no name for a column of the accounts table; rename it"
    if spec.day_column is not None:
        yield ("day_column",), "accounts have no days"
    for at, call in spec.calls():
        for key, text in call.templates():
            if any(path[:2] == ("account", "id") for path in mentions(text)):
                yield (*at, *key), "account.id: there is no account yet, they are asked for"
