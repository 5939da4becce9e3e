from pathlib import Path

import pytest

from reportd.config.cache import cache_folder


def test_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who moves the cache has it moved."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")

    assert Path("/var/cache/me/reportd") == cache_folder()


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_cache_folder_is_in_the_home_otherwise(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Unset, empty and relative mean the default, as the specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", "/home/me")

    assert Path("/home/me/.cache/reportd") == cache_folder()
