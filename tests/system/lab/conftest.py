"""Labs for the tests of this folder; skipped, with the reason, where none can be booted."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.lab import lab as labs
from tests.system.lab.lab import Lab, Packages

MakeLab = Callable[..., Lab]

LAB_TIMEOUT_SECONDS = 300
"""Of a test that boots a lab: what it waits for has shorter limits of its own."""
FIRST_TIMEOUT_SECONDS = 900
"""What a file's first one may take more: it builds packages and base, if they are not cached."""
JOURNAL_LINES = 150

_HAS_FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here; skip it where no lab can be booted."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if not here:
        return
    reason = labs.why_not()
    files = set()
    for item in here:
        item.add_marker(pytest.mark.systemd)
        if not item.get_closest_marker("timeout"):
            building = 0 if item.path in files else FIRST_TIMEOUT_SECONDS
            item.add_marker(pytest.mark.timeout(LAB_TIMEOUT_SECONDS + building))
        files.add(item.path)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test has failed, for the fixtures that end after it."""
    report = yield
    if report.failed:
        item.stash[_HAS_FAILED] = True
    return report


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
def make_lab(
    request: pytest.FixtureRequest, lab_base: None, packages: Packages
) -> Iterator[MakeLab]:
    """Give a maker of labs: ``make_lab("vm1", folders={...})`` boots one; all end with the test.

    When the test has failed, what each lab's journal says is shown with it.
    """
    with ExitStack() as stack:
        made: list[Lab] = []
        yield labs.maker(stack, packages, made)
        if request.node.stash.get(_HAS_FAILED, False):
            for lab in made:
                print(f"--- journal of {lab.name}\n{lab.journal(lines=JOURNAL_LINES)}")


@pytest.fixture(scope="module")
def make_common_lab(lab_base: None, packages: Packages) -> Iterator[MakeLab]:
    """Give a maker of labs that all tests of a file share."""
    with ExitStack() as stack:
        yield labs.maker(stack, packages)
