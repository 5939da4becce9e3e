"""Labs for the tests of this folder; skipped, with the reason, where none can be booted."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.lab import lab as labs
from tests.system.lab.lab import Lab, Packages

MakeLab = Callable[..., Lab]

LAB_TIMEOUT_SECONDS = 300
"""Of a test that boots a lab: what it waits for has shorter limits of its own."""
FIRST_TIMEOUT_SECONDS = 900
"""The first one builds packages and base, if they are not cached."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here; skip it where no lab can be booted."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if not here:
        return
    reason = labs.why_not()
    for item in here:
        item.add_marker(pytest.mark.systemd)
        if not item.get_closest_marker("timeout"):
            first = LAB_TIMEOUT_SECONDS + FIRST_TIMEOUT_SECONDS
            item.add_marker(pytest.mark.timeout(first if item is here[0] else LAB_TIMEOUT_SECONDS))
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def packages() -> Packages:
    """Give the packages of this checkout."""
    return labs.build_packages()


@pytest.fixture(scope="session")
def lab_base() -> None:
    """Make the base of all labs; end those that a killed test process has left."""
    labs.build_base()
    labs.reset_orphans()


@pytest.fixture
def make_lab(lab_base: None, packages: Packages) -> Iterator[MakeLab]:
    """Give a maker of labs: ``make_lab("vm1", folders={...})`` boots one; all end with the test."""
    with ExitStack() as stack:
        yield labs.maker(stack, packages)


@pytest.fixture(scope="module")
def make_common_lab(lab_base: None, packages: Packages) -> Iterator[MakeLab]:
    """Give a maker of labs that all tests of a file share."""
    with ExitStack() as stack:
        yield labs.maker(stack, packages)
