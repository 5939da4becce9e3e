"""What the bench reads in the logs of those that it measures, and what it tells them."""

import tomllib

from bench.accounts import LIMITS, roles
from bench.contestants import held_by
from reportd.partners.load import parse_spec

LOG = """\
2026-11-27T15:05:46.286Z INFO worker-0 assigned assigned p.requests.a[0], p.requests.a[1]
2026-11-27T15:05:49.364Z INFO worker-0 revoked revoked p.requests.a[0]
2026-11-27T15:05:52.388Z INFO worker-1 assigned assigned p.requests.a[0]
peer-17 assigned assigned b[0], b[1]
peer-17 revoked revoked b[0], b[1]
peer-17 assigned assigned b[1]
"""


def test_who_holds_a_partition_in_the_end() -> None:
    """A round does not begin while one process has what two are to share."""
    assert held_by(LOG) == {
        "worker-0": {"p.requests.a[1]"},
        "worker-1": {"p.requests.a[0]"},
        "peer-17": {"b[1]"},
    }


def test_accounts_with_limits_of_their_own_are_200() -> None:
    """Each of four partners says its limit in its file as the simulator counts it."""
    played = roles()
    specs = [parse_spec(tomllib.loads(role.toml(80)), role.name) for role in played]

    assert sum(role.accounts for role in played) == 200
    for (stated,), meant in zip((spec.limits for spec in specs), LIMITS, strict=True):
        assert (stated.per, stated.calls) == (meant.per, meant.calls)
        assert (stated.seconds, stated.meter) == (meant.seconds, meant.meter)
