"""Both kinds of store keep the same contract."""

import os
from pathlib import Path
from typing import Any

import pytest

from reportd.sinks.local import LocalStore
from reportd.sinks.objects import Objects
from reportd.sinks.s3 import S3Stage, S3Store
from reportd.sinks.staging import LocalStage
from tests.integration.sinks.contract import Killed, Place, SinkContract
from tests.s3server import S3Server, open_store


def dying(patch: pytest.MonkeyPatch, where: Any, name: str, nth: int) -> None:
    """Die at the n-th call; what a handler would clean up stays then."""
    calls = [0]
    real = getattr(where, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= nth:
            raise Killed
        return real(*args, **kwargs)

    patch.setattr(where, name, counted)
    patch.setattr(LocalStage, "discard", lambda _stage: None)
    patch.setattr(S3Stage, "discard", S3Stage.close)  # the kernel closes what only it had


class Folder:
    """A local root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> LocalStore:
        return LocalStore(self.root)

    def kill_at(self, patch: pytest.MonkeyPatch, step: str, nth: int) -> None:
        dying(patch, os, {"stage": "write", "publish": "rename"}[step], nth)


class Bucket:
    """A root in a bucket of a real server."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.root = server.root

    def open(self) -> S3Store:
        return open_store(self.server.settings())

    def kill_at(self, patch: pytest.MonkeyPatch, step: str, nth: int) -> None:
        dying(patch, Objects, {"stage": "write", "publish": "copy"}[step], nth)


class TestFolder(SinkContract):
    """Temp files, renames."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        """Give a new folder."""
        return Folder(tmp_path)


class TestBucket(SinkContract):
    """Staged objects, copies."""

    @pytest.fixture
    def place(self, s3: S3Server) -> Place:
        """Give a new bucket."""
        return Bucket(s3)
