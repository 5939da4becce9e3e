"""Takes static members out of the group for processes that have ended. Used by a tool.

Nobody but a member can say goodbye with this library: each one is joined in its place, which moves
nothing, and left. They hold what was theirs for a moment, paused, and commit nothing.
"""

import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack

from reportd.broker.admin import Admin
from reportd.broker.consumer import GroupConsumer
from reportd.broker.settings import ClientSettings
from reportd.errors import BrokerError

POLL_SECONDS = 0.02


def remove_members(
    settings: ClientSettings,
    *,
    group: str,
    instance_ids: Collection[str],
    topics: Collection[str],
    session_timeout_seconds: float,
    timeout_seconds: float,
) -> float:
    """Remove members, whose processes must have ended: one that lives is fenced by it.

    ``topics`` and the session as they had them, so that joining moves nothing. Returns the seconds
    until the group has given their partitions to others; raises `BrokerError`.
    """
    admin = Admin(settings, timeout_seconds=timeout_seconds)
    deadline = time.monotonic() + timeout_seconds
    with ExitStack() as stack:
        members = {}
        for name in sorted(instance_ids):
            members[name] = _member(settings, group, name, session_timeout_seconds)
            stack.callback(members[name].close)
            members[name].subscribe(topics)
        while not _joined(admin.static_members(group), members):
            _poll(members.values(), deadline, "to join in their place")
        left_at = time.monotonic()
        for member in members.values():
            member.leave()
        while admin.static_members(group).keys() & members.keys():
            _poll(members.values(), deadline, "to leave")
        while not admin.is_settled(group):
            _poll(members.values(), deadline, "until the others had their partitions")
        return time.monotonic() - left_at


def _member(
    settings: ClientSettings, group: str, instance_id: str, session_timeout_seconds: float
) -> GroupConsumer:
    return GroupConsumer(
        settings,
        group=group,
        instance_id=instance_id,
        session_timeout_seconds=session_timeout_seconds,
        on_assign=_nothing,
        on_revoke=_nothing,
        on_lost=_nothing,
        on_committed=_nothing,
    )


def _joined(found: dict[str, str], members: dict[str, GroupConsumer]) -> bool:
    return all(one.member_id and found.get(name) == one.member_id for name, one in members.items())


def _poll(members: Iterable[GroupConsumer], deadline: float, what: str) -> None:
    if time.monotonic() >= deadline:
        raise BrokerError(f"waited in vain {what}; try again")
    for member in members:
        member.poll(POLL_SECONDS)


def _nothing(_what: object) -> None:
    """Do nothing."""
