"""Integration tests meet real parts: a broker, HTTP on loopback, files, processes."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test that is the first to need the broker the time to start it."""
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180))
