"""Who joins the group anew when partitions have no owner."""

from reportd.broker.group import Group
from reportd.broker.message import Part
from reportd.observer.orphans import MARGIN_SECONDS, Orphans

PARTS: list[Part] = [("p.requests.acme", number) for number in range(4)]
WANTED = frozenset(PARTS)
DRAIN_SECONDS = 20.0
PATIENCE_SECONDS = DRAIN_SECONDS + MARGIN_SECONDS


def group(*, settled: bool = True, **members: list[Part]) -> Group:
    """Return a group of members with their partitions; ``a_0`` stands for ``a-0``."""
    found = {name.replace("_", "-"): frozenset(parts) for name, parts in members.items()}
    return Group(settled, found)


def test_the_least_busy_joins_anew_after_a_drain() -> None:
    """A member that gives away may still be draining; and the fewest should be interrupted."""
    orphans = Orphans(DRAIN_SECONDS)
    seen = group(a_0=PARTS[:2], b_1=[], b_0=[])

    named = [orphans.look(seen, WANTED, now) for now in (0.0, PATIENCE_SECONDS - 1)]
    assert named == ["", ""]
    assert orphans.parts == frozenset(PARTS[2:])
    assert orphans.look(seen, WANTED, PATIENCE_SECONDS) == "b-0"


def test_what_does_not_help_is_tried_less_and_less() -> None:
    """A right that is missing leaves a partition unowned: no worker leaves all the time."""
    orphans = Orphans(DRAIN_SECONDS)
    seen = group(a_0=PARTS[:3])

    tries = [now for now in range(1000) if orphans.look(seen, WANTED, float(now))]

    waits = [PATIENCE_SECONDS * 2**number for number in range(5)]
    assert tries == [sum(waits[: number + 1]) for number in range(5)]


def test_a_rebalance_says_nothing_and_an_owner_ends_it() -> None:
    """While the group rebalances nobody has anything; afterwards it is counted anew."""
    orphans = Orphans(DRAIN_SECONDS)
    orphans.look(group(a_0=PARTS[:3]), WANTED, 0.0)

    assert orphans.look(group(settled=False, a_0=[]), WANTED, PATIENCE_SECONDS) == ""
    assert orphans.look(group(a_0=PARTS), WANTED, PATIENCE_SECONDS + 1) == ""
    assert orphans.parts == frozenset()
    assert orphans.look(group(a_0=PARTS[:3]), WANTED, PATIENCE_SECONDS + 2) == ""
    assert orphans.look(group(), WANTED, 1e6) == ""
