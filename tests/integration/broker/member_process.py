"""A member in a process of its own, to be stopped and killed. Not a test.

    python member_process.py SERVERS PREFIX INSTANCE SESSION_SECONDS

Says what happens on standard output, one JSON array a line. Every line on standard input says
``commit N``, for all it holds (the metadata is the instance), or ``sleep N``: it stops itself,
and when it is woken commits N before it polls.
"""

import json
import os
import select
import signal
import sys

from tests.integration.broker.conftest import Member, settings_for


def main(servers: str, prefix: str, instance_id: str, session_seconds: str) -> None:
    member = Member(settings_for(servers), prefix, instance_id, float(session_seconds))
    held: frozenset[tuple[str, int]] = frozenset()
    lost = 0
    said_results = 0
    while True:
        member.consumer.poll(0.02)
        if member.consumer.assignment != held:
            held = member.consumer.assignment
            say("held", sorted(held))
        for kind, parts in member.events[lost:]:
            say(kind, parts)
        lost = len(member.events)
        for results in member.results[said_results:]:
            say("committed", [(*each[:3], type(each.error).__name__) for each in results])
        said_results = len(member.results)
        if select.select([sys.stdin], [], [], 0)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            command, offset = line.split()
            if command == "sleep":
                os.kill(os.getpid(), signal.SIGSTOP)
            if not member.consumer.commit(dict.fromkeys(held, (int(offset), instance_id))):
                say("committed", [(*part, int(offset), "not sent") for part in sorted(held)])


def say(*what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
