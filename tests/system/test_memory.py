"""How much memory processes have to themselves: workers are forked to share the rest."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bench.arena import Arena
from bench.lives import growth
from bench.scene import Role
from reportd.observer.machine import private_bytes
from tests.system.stage import Stage, Vm, until

PARTITIONS = 4
IDLE_BYTES = 10_000_000
GROWTH_BYTES = 10_000_000


def status(vm: Vm) -> dict[str, Any]:
    """Return /status."""
    url = f"http://127.0.0.1:{vm.metrics_port}/status"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def restored(vm: Vm) -> set[tuple[str, int]]:
    """Return the partitions that workers have read and show."""
    return {(one["topic"], one["partition"]) for one in status(vm)["partitions"] if one["owner"]}


def test_idle_worker_is_small(stage: Stage) -> None:
    """A worker with one partition and nothing to do has less than 10 MB of its own."""
    vm = stage.start(stage.vm("vm-a", processes=PARTITIONS))
    wanted = {(stage.topics.requests("acme"), index) for index in range(PARTITIONS)}
    until(lambda: wanted <= restored(vm), "the partitions to be restored")

    sizes = [private_bytes(pid) or 0 for pid in vm.daemon.workers()]

    assert len(sizes) == PARTITIONS
    assert 1_000_000 < min(sizes)
    assert max(sizes) < IDLE_BYTES


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_memory_is_flat(tmp_path: Path) -> None:
    """A worker that has done 100,000 requests has as much memory as one that has done 20,000."""
    role = Role(
        name="small", format="json", rows=6, accounts=100_000, latency_seconds=0.005, partitions=12
    )
    with Arena(tmp_path / "arena", (role,)) as arena:
        grown = growth(arena, role, 100_000, threads=16)

    print(grown)
    assert grown.late_bytes - grown.early_bytes < GROWTH_BYTES
