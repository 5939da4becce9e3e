"""What stands under final names: looked at, and replaced, by one thread at a time a name.

A worker publishes with several threads and looks with others, and two runs' requests for one name
may be under way at once: whose file stands is decided and done in one go, so that an older run's
never takes the place of a newer one's, and nobody meets a receipt whose file is yet to come. Other
processes have other accounts, and so other names. Used by `reportd.sinks.publish`.
"""

import threading
from collections.abc import Iterable

from reportd.model.request import Request
from reportd.model.run import order_of
from reportd.sinks.receipts import Receipt
from reportd.sinks.store import Guard, Stage, Store

_LOCKS = 256
"""Names share them by chance: more than threads, by so much that one in seventeen waits for
another. A thousand cost each idle worker 0.15 MB."""


class Standing:
    """The final names of one store. Thread-safe: it waits for no other name while it has one."""

    def __init__(self, store: Store) -> None:
        """Take an open store."""
        self._store = store
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def found(self, path: str, file_format: str, request: Request, replay: int) -> Receipt | None:
        """Return the fitting receipt of a final file that is the request's or a newer run's."""
        with self._lock(path):
            receipt = self._store.receipt_of(path, file_format)
            if receipt is None:
                return None
            if receipt.made_by(request.id, replay) or receipt.order > order_of(request.run):
                return self._store.verified(receipt)
            return None

    def give(
        self, stage: Stage, receipts: Iterable[Receipt], guard: Guard
    ) -> tuple[dict[str, Receipt], set[str]]:
        """Give staged files their final names; return what stands under those names then.

        And which of them took the place of another run's with the same content.
        """
        standing, unchanged = {}, set()
        for receipt in receipts:
            with self._lock(receipt.path):
                there = self._store.receipt_of(receipt.path, receipt.format)
                if there is not None and there.order > receipt.order:
                    standing[receipt.path] = there
                    continue
                stage.publish(receipt, guard)
            standing[receipt.path] = receipt
            if there is not None and there.run != receipt.run and there.content == receipt.content:
                unchanged.add(receipt.path)
        return standing, unchanged

    def _lock(self, path: str) -> threading.Lock:
        return self._locks[hash(path) % _LOCKS]
