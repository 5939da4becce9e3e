"""Processes that fork and log to the journal: each under its own name and pid."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.unit.test_journal import parsed

SCRIPT = """
import logging, os, sys
from pathlib import Path
from reportd import log

journal = Path(sys.argv[1])
log.setup(journal=journal)
pid = os.fork()
if pid == 0:
    logging.getLogger("reportd").info("before it has a name")
    log.setup(process="worker-0", journal=journal)
    logging.getLogger("reportd").info("child", extra={"partner": "acme"})
    os._exit(0)
os.waitpid(pid, 0)
logging.getLogger("reportd").info("parent %d", pid)
"""


def test_forked_children_speak_for_themselves(tmp_path: Path) -> None:
    """The kernel tells the journal who sent a record: the child, and after it the parent again."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard,
        (tmp_path / "stderr").open("w+") as stderr,
    ):
        heard.bind(str(tmp_path / "socket"))
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        heard.settimeout(10)
        found = os.fstat(stderr.fileno())
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "socket")],
            stderr=stderr,
            env=os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            check=True,
        )
        records: list[tuple[dict[str, str], int]] = []
        while len(records) < 3:
            data, credentials, _, _ = heard.recvmsg(65536, socket.CMSG_SPACE(12))
            if data:
                records.append((parsed(data), int.from_bytes(credentials[0][2][:4], sys.byteorder)))

    child = int(records[2][0]["MESSAGE"].split()[-1])
    parent = records[2][1]
    assert [(record["PROCESS"], pid) for record, pid in records] == [
        ("reportd", child),
        ("worker-0", child),
        ("reportd", parent),
    ]
    assert records[1][0]["PARTNER"] == "acme"
    assert (tmp_path / "stderr").read_text() == ""
