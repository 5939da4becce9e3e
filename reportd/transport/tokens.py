"""Access tokens: fetched once for all processes of a VM, before they end and when one is refused.

No thread ever waits for a token that another one fetches: it is told to come again. Token servers
that are away or refuse are left alone for a growing while, by all processes together. Requests to
them are calls of nobody's report: no limit counts them. Used by `reportd.transport.credentials`.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

from reportd.clock import Clock
from reportd.config.secrets import Secret
from reportd.errors import (
    ConfigError,
    CredentialRefusedError,
    NotYetError,
    OutputError,
    UnavailableError,
)
from reportd.transport.exchange import Answer, Call, Failure
from reportd.transport.token_chain import Link, SharedNotes, TokenChain
from reportd.transport.token_files import TokenFiles, TokenState
from reportd.transport.token_request import (
    Assert,
    Minted,
    TokenPlan,
    TokenSecrets,
    Trouble,
    token_call,
    token_in,
)

logger = logging.getLogger(__name__)

EARLY_SECONDS = 300.0
EARLY_SHARE = 0.2
"""A token is renewed so long before it ends: the smaller of the two."""
LAST_SHARE = 0.01
LAST_SECONDS = 20.0
"""A token is not sent in the last moments of its life: a call takes a while to arrive."""
REPLACE_SECONDS = 60.0
"""So soon after a refused token was replaced the next one is not to blame: an account without
permission, answered with 401, must not cost a token a call."""
BUSY_SECONDS = 0.25
"""When to come again while somebody else fetches the token."""
RETRY_FIRST_SECONDS = 1.0
RETRY_MOST_SECONDS = 60.0
REFUSED_FIRST_SECONDS = 60.0
REFUSED_MOST_SECONDS = 900.0
WAIT_MOST_SECONDS = 3600.0
READ_AGAIN_SECONDS = 10.0
"""How long secrets that were read are taken for what their files hold."""

Send = Callable[[Call], Answer | Failure]
Hide = Callable[[str, tuple[str, ...]], str]
"""Takes secrets out of a sentence."""


class TokenLog(Protocol):
    """Who counts requests to token servers."""

    def token_asked(self, partner: str, outcome: str) -> None:
        """Count one: ``minted``, ``refused`` or ``failed``; from any thread."""
        ...


@dataclass(slots=True)
class _Kept:
    """What this process knows of a plan."""

    secrets: TokenSecrets = field(repr=False)
    identity: str
    read_at: float
    state: TokenState = field(default_factory=TokenState)


class Tokens:
    """Gives access tokens. Thread-safe; one a process."""

    def __init__(
        self,
        *,
        read: Callable[[str], Secret],
        send: Send,
        sign: Assert,
        files: TokenFiles,
        clock: Clock,
        hide: Hide = lambda text, _secrets: text,
        notes: SharedNotes | None = None,
        log: TokenLog | None = None,
    ) -> None:
        """Know no token. ``notes``: where rotating refresh tokens are kept; None: refuse those."""
        self._read = read
        self._send = send
        self._sign = sign
        self._files = files
        self._clock = clock
        self._hide = hide
        self._notes = notes
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[TokenPlan, _Kept] = {}

    def token(self, plan: TokenPlan, refused: str = "") -> str:
        """Return an access token that is not the ``refused`` one, unless that is a new one, too.

        Blocks for one request to the token server at most. Raises `NotYetError` while another
        fetches it or the server is away, `CredentialRefusedError`, and `ConfigError` for secrets.
        """
        kept, now = self._kept(plan), self._clock.wall()
        state = kept.state  # once: another thread may put one here that is not to be used yet
        if not state.is_fresh(now, refused):
            state = kept.state = self._files.read(kept.identity)
        if not state.is_fresh(now, refused):
            state = kept.state = self._renewed(plan, kept, refused, now)
        return state.access

    def known(self, plan: TokenPlan) -> tuple[str, ...]:
        """Return all that this process would not show of a plan, without asking anybody.

        What a plan was used with last counts, whatever became of its files since. Raises
        `ConfigError` for secrets of one that was never used.
        """
        kept = self._known.get(plan) or self._kept(plan)
        found = (*kept.secrets.values, kept.state.access, kept.state.unstored)
        return tuple(text for text in found if text)

    def _kept(self, plan: TokenPlan) -> _Kept:
        now = self._clock.monotonic()
        kept = self._known.get(plan)
        if kept is not None and now - kept.read_at < READ_AGAIN_SECONDS:
            return kept
        values = {
            "client_id": plan.client_id or self._value(plan.client_id_secret),
            "client_secret": self._value(plan.client_secret),
            "refresh_token": self._value(plan.refresh_token),
            "key": self._value(plan.key),
        }
        identity = _identity(plan, values)
        with self._lock:
            if kept is not None and kept.identity == identity:
                kept.read_at = now
                return kept
            secrets = TokenSecrets(**values, client_id_is_told=bool(plan.client_id))
            fresh = self._known[plan] = _Kept(secrets, identity, now)
        return fresh

    def _value(self, name: str) -> str:
        return self._read(name).reveal() if name else ""

    def _renewed(self, plan: TokenPlan, kept: _Kept, refused: str, now: float) -> TokenState:
        with self._files.hold(kept.identity) as held:
            state = self._files.read(kept.identity)
            if state.is_fresh(now, refused):
                return state
            if not held:
                return _meanwhile(state, refused, now, "its token is being fetched", BUSY_SECONDS)
            if state.wait_until > now:
                if state.refused and not state.is_usable(now, refused):
                    raise CredentialRefusedError(state.reason)
                return _meanwhile(state, refused, now, state.reason, state.wait_until - now)
            is_refused = bool(refused) and state.access == refused and not state.unstored
            if is_refused and now < state.replaced_at + REPLACE_SECONDS:
                return state
            renewed = self._fetched(plan, kept, state, refused, now)
            is_another = is_refused and renewed.access != refused
            replaced_at = now if is_another else state.replaced_at
            renewed = replace(renewed, replaced_at=replaced_at)
            self._files.write(kept.identity, renewed)
        if renewed.is_fresh(now, refused):
            return renewed
        if renewed.refused and not renewed.is_usable(now, refused):
            raise CredentialRefusedError(renewed.reason)
        return _meanwhile(renewed, refused, now, renewed.reason, renewed.wait_until - now)

    def _fetched(
        self, plan: TokenPlan, kept: _Kept, state: TokenState, refused: str, now: float
    ) -> TokenState:
        """Return what is known after one request to the server, or none where others did it."""
        self._files.write(kept.identity, state)  # where there is no room, nothing is asked for
        if not (plan.rotates and plan.grant == "refresh_token"):
            minted = self._asked(plan, kept.secrets)
            if isinstance(minted, Trouble):
                return self._failed(plan, kept, state, minted)
            return _fresh(minted.access, self._clock.wall(), minted.lifetime_seconds)
        try:
            return self._in_chain(plan, kept, state, refused, now)
        except OutputError as error:
            trouble = Trouble(f"the output does not take the next refresh token: {error}")
            return self._failed(plan, kept, state, trouble)

    def _in_chain(
        self, plan: TokenPlan, kept: _Kept, state: TokenState, refused: str, now: float
    ) -> TokenState:
        if self._notes is None:
            raise ConfigError(
                f"secret {plan.refresh_token!r}: its refresh token rotates (auth.oauth2.rotates), "
                "which needs an output to keep the next one in; all VMs have to see it"
            )
        # A new secret of the app does not end the chain, a new refresh token does
        seed = {"client_id": kept.secrets.client_id, "refresh_token": kept.secrets.refresh_token}
        chain = TokenChain(self._notes, _identity(plan, seed), kept.secrets.refresh_token)
        number = chain.claim(now)
        if number is None:
            busy = "its token is being fetched on another VM"
            return replace(state, reason=busy, refused=False, wait_until=now + 4 * BUSY_SECONDS)
        if state.unstored:
            return _stored(chain, number, state)
        link = chain.newest()
        if link is not None:
            theirs = TokenState(
                access=link.access,
                minted_at=link.minted_at,
                refresh_at=link.refresh_at,
                ends_at=link.ends_at,
            )
            if theirs.is_fresh(now, refused):
                chain.give_up(number)
                return theirs
        refresh = link.refresh if link is not None else kept.secrets.refresh_token
        minted = self._asked(plan, replace(kept.secrets, refresh_token=refresh))
        if isinstance(minted, Trouble):
            chain.give_up(number)
            return self._failed(plan, kept, state, minted)
        found = replace(
            _fresh(minted.access, self._clock.wall(), minted.lifetime_seconds),
            unstored=minted.refresh or refresh,
        )
        with suppress(UnavailableError):  # then it is the output alone that keeps it
            self._files.write(kept.identity, found)  # whatever happens now, it is not lost with us
        try:
            return _stored(chain, number, found)
        except OutputError as error:
            trouble = Trouble(f"the output does not take the next refresh token: {error}")
            return self._failed(plan, kept, found, trouble)

    def _asked(self, plan: TokenPlan, secrets: TokenSecrets) -> Minted | Trouble:
        call = token_call(plan, secrets, self._sign, self._clock.wall())
        found = token_in(plan, self._send(call))
        if isinstance(found, Minted):
            outcome = "minted"
        else:
            outcome = "refused" if found.refused else "failed"
            found = replace(found, reason=self._hide(found.reason, secrets.values))
        if self._log is not None:
            self._log.token_asked(plan.partner, outcome)
        return found

    def _failed(
        self, plan: TokenPlan, kept: _Kept, state: TokenState, trouble: Trouble
    ) -> TokenState:
        """Return what is known after a failure: the wait grows; said once while it stays so."""
        failures = min(state.failures + 1, 30) if state.refused == trouble.refused else 1
        first, most = RETRY_FIRST_SECONDS, RETRY_MOST_SECONDS
        if trouble.refused:
            first, most = REFUSED_FIRST_SECONDS, REFUSED_MOST_SECONDS
        wait = min(first * 2 ** (failures - 1), most)
        if trouble.wait_seconds is not None:
            wait = min(max(wait, trouble.wait_seconds), WAIT_MOST_SECONDS)
        names = ", ".join(plan.names)
        host = urlsplit(plan.url).hostname
        says = "refuses" if trouble.refused else "gives no token for"
        reason = f"the token server {host} {says} the credential ({names}): {trouble.reason}"
        if trouble.refused:
            again = "authorize again and " if plan.grant == "refresh_token" else ""
            reason += f"; {again}replace the secret's file"
        if failures == 1:
            level = logging.ERROR if trouble.refused else logging.WARNING
            logger.log(
                level,
                "%s: %s",
                plan.partner,
                reason,
                extra={
                    "action": "credential_refused" if trouble.refused else "token_failed",
                    "partner": plan.partner,
                    "secrets": names,
                },
            )
        return replace(
            state,
            failures=failures,
            refused=trouble.refused,
            reason=reason,
            wait_until=self._clock.wall() + wait,
        )


def _identity(plan: TokenPlan, values: dict[str, str]) -> str:
    """Return a name for a credential: another secret in its file makes it another one."""
    parts = (plan.url, plan.grant, *plan.scopes, plan.subject, *map(repr, plan.fields))
    secret = (values[name] for name in sorted(values))
    return hashlib.sha256("\0".join((*parts, "", *secret)).encode()).hexdigest()[:32]


def _fresh(access: str, minted_at: float, lifetime_seconds: float) -> TokenState:
    ends = minted_at + lifetime_seconds
    return TokenState(
        access=access,
        minted_at=minted_at,
        refresh_at=ends - min(EARLY_SECONDS, EARLY_SHARE * lifetime_seconds),
        ends_at=ends - min(LAST_SECONDS, LAST_SHARE * lifetime_seconds),
    )


def _stored(chain: TokenChain, number: int, state: TokenState) -> TokenState:
    chain.store(
        number,
        Link(
            refresh=state.unstored,
            access=state.access,
            minted_at=state.minted_at,
            refresh_at=state.refresh_at,
            ends_at=state.ends_at,
        ),
    )
    return replace(state, unstored="", failures=0, reason="", refused=False, wait_until=0.0)


def _meanwhile(
    state: TokenState, refused: str, now: float, reason: str, wait_seconds: float
) -> TokenState:
    """Return the state if its token still serves; else raise `NotYetError`."""
    if state.is_usable(now, refused):
        return state
    raise NotYetError(reason, max(0.0, wait_seconds))
