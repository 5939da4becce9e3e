"""What a run lacks, request by request: from its file at the output, or from its dead letters.

Used by ``reportctl runs``.
"""

from pathlib import Path
from typing import Any

import orjson

from reportd.broker.admin import Admin
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.cli.letters import LetterBox
from reportd.config.settings import OutputSettings
from reportd.errors import OutputError
from reportd.model.run import Finished
from reportd.sinks.staging import OWN
from reportd.worker.opening import open_output


def missing_in(finished: Finished, output: OutputSettings) -> list[dict[str, Any]]:
    """Return what the file of a run that is over says is missing; raises `OutputError`."""
    data = _data(finished, output)
    try:
        found: list[dict[str, Any]] = orjson.loads(data or b"")["missing"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise OutputError(f"{output.root}/{finished.file} is no run's file") from None
    return found


def _data(finished: Finished, output: OutputSettings) -> bytes | None:
    if output.is_s3:
        return open_output(output).marks.read(finished.file.removeprefix(f"{OWN}/"))
    path = Path(output.root) / finished.file
    try:  # opening the store would make an empty folder one of ours
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from None


def died_of(
    run: str, reader: PartitionReader, admin: Admin, topics: Topics
) -> list[dict[str, Any]]:
    """Return what has died of a run so far, but for what was replayed; raises `BrokerError`."""
    box = LetterBox(topics, reader, admin)
    found = box.find(lambda letter: letter.run == run, run, everything=True)
    return [
        {
            "partner": (topics.parse(letter.topic) or ("", ""))[1],
            "report": letter.report,
            "account": letter.account,
            "why": letter.reason,
            "id": letter.id,
        }
        for letter in box.read(found)
        if not letter.replayed
    ]
