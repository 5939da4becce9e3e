"""Opens the output that the configuration names: a folder or a bucket. After the fork only."""

from reportd.config.settings import S3_SCHEME, OutputSettings
from reportd.sinks.local import LocalStore
from reportd.sinks.s3 import S3Store
from reportd.sinks.store import OutputRoot
from reportd.transport.client import Client
from reportd.transport.s3 import BucketCalls


def open_output(output: OutputSettings) -> OutputRoot:
    """Open the root; raises `OutputError` when it is not there."""
    if not output.is_s3 or output.s3 is None:
        return LocalStore.of(output)
    bucket = output.root.removeprefix(S3_SCHEME).partition("/")[0]
    calls = BucketCalls(Client(S3Store.threads), output.s3, bucket)
    return S3Store(output.root, output.s3, calls)
