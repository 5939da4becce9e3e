"""Partners that make a report before they give it: what was made, and since when.

Runs in the simulator's process. A report's id holds its question; nothing is made twice.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import date
from urllib.parse import urlencode

from reportd.demo.simulator.answers import Asked, BadQuestionError, respond_json
from reportd.demo.simulator.config import Partner

FILES_HOST = "127.0.0.2"
"""Another host than the partner's, on the same port."""
SIGNATURE = "5ec4e7-signature"


class Making:
    """One partner's reports."""

    def __init__(self, partner: Partner, files_url: str) -> None:
        self._partner = partner
        self._files_url = files_url
        self._made_at: dict[str, float] = {}

    def make(self, asked: Asked, now: float) -> bool:
        """Make a report, unless there is one for this question; say whether it is new."""
        return self._made_at.setdefault(id_of(asked), now) == now

    def created(self, asked: Asked, *, new: bool) -> bytes:
        """Return the answer to a create."""
        if new:
            return respond_json(202, {"id": id_of(asked)})
        return respond_json(425, {"error": f"duplicate of <{id_of(asked)}>"})

    def is_done(self, asked: Asked, now: float) -> bool:
        """Say whether the report that is polled is there."""
        made_at = self._made_at.get(id_of(asked))
        return made_at is not None and now >= made_at + self._partner.making_seconds

    def polled(self, asked: Asked, now: float, *, done: bool) -> bytes:
        """Return the answer to a poll; a URL in it is good for `Partner.url_seconds`."""
        if not done:
            return respond_json(200, {"state": "working"})
        query = {"until": now + self._partner.url_seconds, "signature": SIGNATURE}
        path = f"{self._partner.name}/{asked.report}/file/{id_of(asked)}"
        url = f"{self._files_url}/{path}?{urlencode(query)}"
        return respond_json(200, {"state": "done", "url": url})


def id_of(asked: Asked) -> str:
    """Return the id of the report that a question makes."""
    text = f"{asked.account}/{asked.first}/{asked.last}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def asked_of(report: str, call: str, name: str, page: int) -> Asked:
    """Return what a call for a made report asks; raises `BadQuestionError`."""
    try:
        text = urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        account, first, last = text.split("/")
        days = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise BadQuestionError("report's id") from None
    return Asked(report, account, *days, page, call)


def rows_of(asked: Asked) -> Asked:
    """Return the question whose rows a call for a made report gets."""
    return replace(asked, call="")
