"""What is open of a run: read from the topics and the ledger, as a new owner would.

Used by ``reportctl plan``.
"""

from collections.abc import Iterator

from reportd.broker.message import Part
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.enqueue.run_requests import Watch, requests_of_run
from reportd.errors import BrokerError
from reportd.model.request import Request
from reportd.model.run import Manifest
from reportd.worker.partition import parse_metadata
from reportd.worker.restoring import read_ledger


def open_requests(
    reader: PartitionReader, topics: Topics, manifest: Manifest, watch: Watch
) -> Iterator[tuple[Part, Request]]:
    """Yield the run's requests that have no end, and where they lie; raises `BrokerError`."""
    for topic in manifest.topics:
        parsed = topics.parse(topic.topic)
        if parsed is None:
            raise BrokerError(f"{manifest.run} lies in {topic.topic}, which is none of ours")
        for index, (first, end) in sorted(topic.spans.items()):
            part = (topic.topic, index)
            commit = reader.committed([part])[part]
            low, _ = reader.watermarks(part)
            start = max(first, low, commit.offset or 0)
            if start >= end:
                continue
            needed, _ = parse_metadata(commit.metadata)
            image = read_ledger(reader, topics.ledger(parsed[1]), index, needed or 0)
            records = watch(reader.read(part, start, end), end - start, f"{part[0]}[{index}]")
            seen = set()  # a message may lie there twice
            for _, request in requests_of_run(records, manifest.run):
                if request.id not in seen and image.end_of((request.id, 0)) is None:
                    yield part, request
                seen.add(request.id)
