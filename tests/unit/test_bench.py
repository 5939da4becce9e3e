"""What the bench reads in the logs of those that it measures."""

from bench.contestants import held_by

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
