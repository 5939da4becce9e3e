"""The accounts as the last enqueue saw them: the topic ``accounts``. For commands without Spark."""

from contextlib import suppress

from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import Topics
from reportd.cli.showing import watched
from reportd.errors import InvalidMessageError
from reportd.model.account import Account


def known_accounts(settings: ClientSettings, topics: Topics, partner: str) -> dict[str, Account]:
    """Return a partner's accounts by their ids; raises `BrokerError`."""
    reader = PartitionReader(settings, group=topics.prefix)
    found: dict[str, Account] = {}
    start = f"{partner}/".encode()
    try:
        part = (topics.accounts, 0)
        low, high = reader.watermarks(part)
        for message in watched(reader.read(part, low, high), high - low, "accounts"):
            if not (message.key or b"").startswith(start):
                continue
            with suppress(InvalidMessageError):
                account = Account.from_json(message.value)
                found[account.account] = account
    finally:
        reader.close()
    return found
