"""One partner as it plays: who may ask, its limits, its faults, its mood (outage, hold)."""

from collections import Counter
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random

from reportd.demo.simulator.answers import Answers, Asked, respond_json
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import FAULTS, Faults, Latency, Partner
from reportd.demo.simulator.making import FILES_HOST, Making, rows_of
from reportd.demo.simulator.meters import Gate


@dataclass(frozen=True, slots=True)
class Play:
    """What to do with one call."""

    answer: bytes = b""
    """What to send."""
    end: str = "keep"
    """Then: ``keep`` the connection, ``close`` it, or ``reset`` it."""
    delay_seconds: float = 0.0
    good: bool = False
    """The answer is the complete good one."""


class Player:
    """Decides the answer of every call of one partner; no sockets, handed ``now``."""

    def __init__(self, partner: Partner, base_url: str, epoch_offset_seconds: float) -> None:
        self.partner = partner
        self.answers = Answers(partner, base_url)
        self.making = Making(partner, base_url.replace("127.0.0.1", FILES_HOST))
        self.gate = Gate(partner.limits, epoch_offset_seconds)
        self.outage = ""
        """``""``: up; ``error``: 503; ``reset``; ``hang``."""
        self.counts: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self._trap_url = base_url.replace("127.0.0.1", "localhost") + "/_trap"
        self._times: Counter[Asked] = Counter()
        self._chance = Random(partner.seed)

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self.partner.faults

    def change(self, *, faults: Faults | None = None, latency: Latency | None = None) -> None:
        """Play other faults or another latency from now on."""
        self.partner = replace(
            self.partner,
            faults=faults or self.partner.faults,
            latency=latency or self.partner.latency,
        )

    def play(self, asked: Asked, headers: dict[str, str], call: SeenCall) -> Play:
        """Decide one call; ``call`` is told its status and fault."""
        play = self._play(asked, headers, call)
        self.counts[call.fault or "good"] += 1
        if play.answer:
            call.status = int(play.answer[9:12])
        return play

    def _play(self, asked: Asked, headers: dict[str, str], call: SeenCall) -> Play:
        if self.outage:
            call.fault = "outage"
            return self._down()
        if not self._may_ask(asked, headers):
            call.fault = "auth"
            return Play(respond_json(401, {"error": "who are you?"}))
        scopes = {
            "partner": "",
            "account": asked.account,
            "credential": headers.get("authorization", ""),
        }
        if wait := self.gate.admit(scopes, call.at):
            call.fault = "limit"
            return Play(self.answers.slow_down(wait))
        if asked.account in self.partner.gone_accounts:
            call.fault = "gone"
            return Play(respond_json(404, {"error": "no such account"}))
        call.fault = self._dice(asked)
        if asked.call:
            return self._made(call, asked)
        return self._with(call.fault, asked)

    def _may_ask(self, asked: Asked, headers: dict[str, str]) -> bool:
        """Say whether a call is authorized; whoever asks another host must not be."""
        if asked.call == "file":
            return not any(name in headers for name in self.partner.headers)
        return all(headers.get(name) == value for name, value in self.partner.headers.items())

    def _made(self, call: SeenCall, asked: Asked) -> Play:
        """Play a call for a report that is made first."""
        if asked.call == "create" and call.fault in {"", "reset"}:  # the answer alone is lost
            new = self.making.make(asked, call.at)
            good = Play(self.making.created(asked, new=new), good=new)
        elif asked.call == "poll":
            done = self.making.is_done(asked, call.at)
            good = Play(self.making.polled(asked, call.at, done=done), good=done)
        else:
            return self._with(call.fault, rows_of(asked))
        played = self._with(call.fault, asked) if call.fault else good
        return replace(played, delay_seconds=self._delay())

    def _dice(self, asked: Asked) -> str:
        """Return this call's fault: decided by the seed, the question and how often it came."""
        self._times[asked] += 1
        text = f"{self.partner.seed}/{asked}/{self._times[asked]}"
        drawn = int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32
        for name in FAULTS:
            probability: float = getattr(self.faults, name)
            if drawn < probability:
                return self._playable(name, asked)
            drawn -= probability
        return ""

    def _playable(self, fault: str, asked: Asked) -> str:
        """Return the fault, or one that can be told from a good answer."""
        if fault not in {"cut", "truncated"}:
            return fault
        if asked.call in {"create", "poll"} or not self.answers.can_break(rows_of(asked)):
            return "error"
        telling = self.partner.format == "json" or self.partner.gzip != "none"
        return fault if telling else "truncated"

    def _with(self, fault: str, asked: Asked) -> Play:
        delay = self._delay()
        if fault == "error":
            return Play(respond_json(500, {"error": "internal"}), delay_seconds=delay)
        if fault == "reset":
            return Play(end="reset", delay_seconds=delay)
        if fault == "truncated":
            return Play(self.answers.truncated(asked), end="close", delay_seconds=delay)
        if fault == "cut":
            return Play(self.answers.cut(asked), delay_seconds=delay)
        if fault == "html":
            return Play(self.answers.html(), delay_seconds=delay)
        if fault == "throttle":
            return Play(self.answers.slow_down(1.0), delay_seconds=delay)
        if fault == "hang":
            return Play(end="close", delay_seconds=self.faults.hang_seconds)
        if fault == "redirect":
            said = respond_json(302, {}, ("Location", self._trap_url))
            return Play(said, delay_seconds=delay)
        return Play(self.answers.good(asked), delay_seconds=delay, good=True)

    def _down(self) -> Play:
        if self.outage == "reset":
            return Play(end="reset")
        if self.outage == "hang":
            return Play(end="close", delay_seconds=self.faults.hang_seconds)
        return Play(respond_json(503, {"error": "down"}))

    def _delay(self) -> float:
        latency = self.partner.latency
        if latency.slow_share and self._chance.random() < latency.slow_share:
            return latency.slow_seconds
        if not latency.sigma:
            return latency.median_seconds
        return latency.median_seconds * self._chance.lognormvariate(0.0, latency.sigma)
