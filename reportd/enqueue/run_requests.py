"""A run's requests among the records of a topic, which other runs have written to, too. Pure."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import orjson

from reportd.broker.message import Message
from reportd.errors import InvalidMessageError
from reportd.model.request import Request

Watch = Callable[[Iterable[Message], int, str], Iterator[Message]]
"""Shows how far reading is: the records, how many there are at most, of what."""


def requests_of_run(records: Iterable[Message], run: str) -> Iterator[tuple[Message, Request]]:
    """Yield those of a run; what does not validate is nobody's."""
    needle = orjson.dumps(run)
    for message in records:
        if needle not in message.value:
            continue
        with suppress(InvalidMessageError):
            request = Request.from_json(message.value)
            if request.run == run:
                yield message, request
