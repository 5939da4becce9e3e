"""What no consumer of these libraries can do without: parse and write alone.

The peer's own `table_of` and `write`, on answers that lie in memory: no HTTP, no Kafka, no loop,
no thread. So many processes at once as the peer has, since two that share a core slow each other
down. ``python -m bench.floor ANSWERS FORMAT FOLDER`` is one of them.
"""

import http.client
import sys
import time
from pathlib import Path

import orjson

from bench.arena import Arena, BenchError
from bench.peer.files import table_of, write
from bench.scene import TOKEN, Role
from reportd.demo.programs import Program

_PROGRAM_SECONDS = 300.0


def measure(arena: Arena, role: Role, count: int, processes: int) -> float:
    """Return the CPU seconds per 1,000 answers."""
    folder = arena.folder / f"floor-{role.name}"
    folder.mkdir()
    answers = folder / "answers.json"
    answers.write_bytes(orjson.dumps(_answers(arena, role, count)))
    logs = [folder / f"{number}.log" for number in range(processes)]
    programs = []
    for number, log in enumerate(logs):
        output = folder / str(number)
        output.mkdir()
        arguments = [str(answers), role.format, str(output)]
        programs.append(Program("bench.floor", arguments, log).start())
    for program, log in zip(programs, logs, strict=True):
        if program.wait(_PROGRAM_SECONDS) != 0:
            raise BenchError(f"parse and write alone failed: {log.read_text()}")
    return sum(float(log.read_text()) for log in logs) / processes * 1000 / count


def _answers(arena: Arena, role: Role, count: int) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", arena.simulator.port, timeout=60)
    found = []
    for path in role.paths(count):
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        found.append(connection.getresponse().read().decode())
    connection.close()
    return found


def main() -> int:
    """Parse and write every answer; print the CPU seconds it took."""
    answers, form, folder = sys.argv[1:]
    bodies = [text.encode() for text in orjson.loads(Path(answers).read_bytes())]
    before = time.process_time()
    for number, body in enumerate(bodies):
        write(table_of(body, form, "account"), Path(folder, f"{number}.parquet"), lean=True)
    sys.stdout.write(f"{time.process_time() - before}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
