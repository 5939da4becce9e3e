"""Refresh tokens that rotate: each is good for one use, so the next one must never be lost.

They are kept where all VMs see them, sealed with what the secret files hold: whoever reads the
output reads no credential, and a new secret file begins a new chain. Whoever refreshes first makes
a numbered lease, which one alone can make, and stores under that number what came of it; a lease
that nobody used is over after a while. Used by `reportd.transport.tokens`.
"""

import base64
import hashlib
from dataclasses import asdict, dataclass, field
from typing import Protocol

import orjson
from cryptography.fernet import Fernet, InvalidToken

LEASE_SECONDS = 60.0
"""How long one that died while it refreshed keeps others away; longer than a request may take."""
KEPT = 8
"""Numbers that stay, so that nobody who has looked a moment ago makes one of them anew."""


class SharedNotes(Protocol):
    """Small private files that all VMs see, written once and whole. Raises `OutputError`."""

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file durably unless there is one; say whether it was written."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None when there is none."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What came of one refresh; times are the epoch's."""

    refresh: str = field(repr=False)
    """The token that the next refresh takes."""
    access: str = field(repr=False)
    minted_at: float
    refresh_at: float
    ends_at: float


class TokenChain:
    """One credential's chain. Not thread-safe; made for one refresh."""

    def __init__(self, notes: SharedNotes, identity: str, secret: str) -> None:
        """``secret``: what the links are sealed with; who has it has the credential anyway."""
        self._notes = notes
        self._identity = identity
        digest = hashlib.sha256(f"reportd token chain\0{secret}".encode()).digest()
        self._seal = Fernet(base64.urlsafe_b64encode(digest))

    def claim(self, now: float) -> int | None:
        """Return the number of the next link for whoever may make it now; None: another does."""
        found = self._numbers()
        newest = max((number for number, _ in found), default=0)
        kinds = {kind for number, kind in found if number == newest}
        if newest and not kinds & {"link", "over"}:
            lease = self._notes.read(self._name(newest, "lease"))
            if lease is not None and now < _until(lease):
                return None
        until = orjson.dumps({"until": now + LEASE_SECONDS})
        if not self._notes.create(self._name(newest + 1, "lease"), until):
            return None
        self._forget(found, newest + 1)
        return newest + 1

    def newest(self) -> Link | None:
        """Return the last link; None: the chain begins with what the secret file holds."""
        for number in sorted((n for n, kind in self._numbers() if kind == "link"), reverse=True):
            data = self._notes.read(self._name(number, "link"))
            try:
                return Link(**orjson.loads(self._seal.decrypt(data or b"")))
            except (InvalidToken, orjson.JSONDecodeError, TypeError):
                continue
        return None

    def store(self, number: int, link: Link) -> None:
        """Make a link durable."""
        text = orjson.dumps(asdict(link))
        self._notes.create(self._name(number, "link"), self._seal.encrypt(text))

    def give_up(self, number: int) -> None:
        """Let others try at once: no link came of it."""
        self._notes.create(self._name(number, "over"), b"{}")

    def _forget(self, found: list[tuple[int, str]], number: int) -> None:
        """Remove what is long over, but the newest link."""
        links = [old for old, kind in found if kind == "link"]
        for old, kind in found:
            if old < number - KEPT and not (kind == "link" and old == max(links)):
                self._notes.remove(self._name(old, kind))

    def _name(self, number: int, kind: str) -> str:
        return f"{self._identity}.{number}.{kind}"

    def _numbers(self) -> list[tuple[int, str]]:
        found = []
        for name in self._notes.names(f"{self._identity}."):
            parts = name.split(".")
            if len(parts) == 3 and parts[1].isdigit():
                found.append((int(parts[1]), parts[2]))
        return found


def _until(lease: bytes) -> float:
    try:
        return float(orjson.loads(lease)["until"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0.0
