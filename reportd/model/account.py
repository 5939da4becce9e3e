"""An account as the last enqueue saw it: one record of the topic ``accounts``."""

from typing import Annotated, Literal

from pydantic import Field

from reportd.model.base import Name, Record, Text


class Account(Record):
    """One row of the accounts table; key ``partner/account``."""

    v: Literal[1] = 1
    partner: Name
    account: Annotated[Text, Field(min_length=1)]
    timezone: Text = "UTC"
    currency: Text = ""
    credential: Text = ""
    active: bool = True
    attributes: Annotated[dict[str, Text], Field(max_length=64)] = {}
    schedule: str = ""
    """Whose table it was last seen in: only that one's absence makes the account inactive."""
