"""What the workers of one VM know together of access tokens: small files, one a credential.

The folder is the daemon's own, of its runtime directory (tmpfs under systemd), readable by nobody
else, and gone with it. Whoever fetches a token holds a lock of the kernel meanwhile, which ends
with the process however that dies. Used by `reportd.transport.tokens`.
"""

import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol

import orjson

from reportd.errors import UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenState:
    """What is known of one credential's token; times are the epoch's. Shows no token."""

    access: str = field(default="", repr=False)
    minted_at: float = 0.0
    refresh_at: float = 0.0
    """From when on a new one is fetched, while this one still works."""
    ends_at: float = 0.0
    """From when on this one is not sent any more."""
    replaced_at: float = 0.0
    """When a token was last fetched because the partner had refused the one before."""
    unstored: str = field(default="", repr=False)
    """A refresh token that came with it and could not be stored yet: it must not be used before."""
    failures: int = 0
    """Since the last token came."""
    wait_until: float = 0.0
    """No request to the token server before."""
    reason: str = ""
    """Why the last request failed, without secrets; empty: it did not."""
    refused: bool = False
    """Whether that was the credential's fault."""

    def is_usable(self, now: float, refused: str) -> bool:
        """Say whether it can be sent: not ``refused``, not over, stored."""
        known = bool(self.access) and not self.unstored and self.access != refused
        return known and now < self.ends_at

    def is_fresh(self, now: float, refused: str) -> bool:
        """Say whether nobody needs to fetch another one; a clock that went back makes it old."""
        in_time = self.minted_at - CLOCK_SECONDS <= now < self.refresh_at
        return in_time and self.is_usable(now, refused)

    def to_json(self) -> bytes:
        """Return it for a file."""
        return orjson.dumps(asdict(self))

    @classmethod
    def of_json(cls, data: bytes) -> "TokenState":
        """Read it; what is none is an empty one."""
        try:
            found = cls(**orjson.loads(data))
        except (orjson.JSONDecodeError, TypeError):
            return cls()
        kinds = ((getattr(found, one.name), type(one.default)) for one in fields(cls))
        right = all(
            type(value) is kind or (kind is float and type(value) is int) for value, kind in kinds
        )
        return found if right else cls()


CLOCK_SECONDS = 60.0
"""How far clocks may go back before tokens are fetched anew."""


class TokenFiles(Protocol):
    """Where states are kept, by the hash of what makes a credential. Thread-safe."""

    def read(self, identity: str) -> TokenState:
        """Return what is known; an empty state if nothing is."""
        ...

    def write(self, identity: str, state: TokenState) -> None:
        """Let all others know: they see the whole state or the one before."""
        ...

    @contextmanager
    def hold(self, identity: str) -> Iterator[bool]:
        """Be the one that fetches; gives False at once when somebody else is."""
        ...


class TokenFolder:
    """States in a folder, for the processes of one VM."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it is made, or made private, at once."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder

    def read(self, identity: str) -> TokenState:
        """See `TokenFiles.read`."""
        try:
            return TokenState.of_json((self._folder / f"{identity}.json").read_bytes())
        except FileNotFoundError:
            return TokenState()
        except OSError as error:
            raise _away(error) from error

    def write(self, identity: str, state: TokenState) -> None:
        """See `TokenFiles.write`: a rename, so nobody ever reads half of it."""
        temp = self._folder / f"{identity}.{secrets.token_hex(4)}.tmp"
        try:
            descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(state.to_json())
                temp.rename(self._folder / f"{identity}.json")
            except OSError:
                with suppress(OSError):
                    temp.unlink()
                raise
        except OSError as error:
            raise _away(error) from error

    @contextmanager
    def hold(self, identity: str) -> Iterator[bool]:
        """See `TokenFiles.hold`: locks of two open files exclude each other, threads' too."""
        path = self._folder / f"{identity}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _away(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


class TokenMemory:
    """States of one process alone: for tools that run for a moment."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._states: dict[str, TokenState] = {}
        self._locks: dict[str, threading.Lock] = {}

    def read(self, identity: str) -> TokenState:
        """See `TokenFiles.read`."""
        return self._states.get(identity, TokenState())

    def write(self, identity: str, state: TokenState) -> None:
        """See `TokenFiles.write`."""
        self._states[identity] = state

    @contextmanager
    def hold(self, identity: str) -> Iterator[bool]:
        """See `TokenFiles.hold`."""
        lock = self._locks.setdefault(identity, threading.Lock())
        held = lock.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                lock.release()


def _away(error: OSError) -> UnavailableError:
    return UnavailableError(f"the folder of tokens: {error.strerror}")
