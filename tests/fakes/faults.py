"""Faults that any partner may have, thrown by a seed between it and whoever asks."""

import random
from collections import Counter
from dataclasses import replace

from reportd.model.content import head_of
from reportd.transport.exchange import Answer, Failure, FailureKind
from tests.fakes.fake import Asked, Fake, answer

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body></body></html>"
KINDS = ("reset", "lost", "timeout", "500", "503 html", "200 html", "cut", "slow down")


class Faulty:
    """A fake behind a bad network: answers get lost after it has acted, pages come cut."""

    def __init__(self, fake: Fake, seed: int, share: float) -> None:
        """Spoil ``share`` of the calls."""
        self.fake = fake
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)  # no secret
        self._share = share

    def answer(self, asked: Asked, now: float) -> Answer | Failure:
        """Answer one call, or spoil it."""
        kind = self._random.choice(KINDS) if self._random.random() < self._share else "good"
        self.counts[kind] += 1
        if kind == "reset":
            return _failed(FailureKind.RESET)
        if kind == "500":
            return answer(500, b'{"message": "internal"}')
        if kind == "503 html":
            return answer(503, HTML)
        if kind == "slow down":
            return self.fake.slow_down(now)
        good = self.fake.answer(asked, now)
        if kind == "lost":
            return _failed(FailureKind.SHORT_BODY)
        if kind == "timeout":
            return _failed(FailureKind.TIMEOUT)
        if kind == "200 html":
            return answer(200, HTML)
        if kind == "cut" and good.status == 200:
            return replace(good, body=head_of(good.body, len(good.body) // 2))
        return good


def _failed(kind: FailureKind) -> Failure:
    return Failure(kind=kind, detail="a fault of the test", seconds=0.1)
