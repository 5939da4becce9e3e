"""What ``reportctl requests`` asks of the workers, by way of the observer."""

from datetime import date
from typing import Literal

from reportd.model.base import Record, Text
from reportd.model.request import Request


class Question(Record):
    """Which open requests are meant; what is empty is not asked for."""

    v: Literal[1] = 1
    partner: Text = ""
    account: Text
    report: Text = ""
    day: date | None = None

    def means(self, request: Request) -> bool:
        """Say whether a request is one of them."""
        return (
            request.account == self.account
            and self.partner in ("", request.partner)
            and self.report in ("", request.report)
            and (self.day is None or request.first_day <= self.day <= request.last_day)
        )
