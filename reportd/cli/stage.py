"""Where a trial takes place: at the real partner, recorded or not, or in a recording."""

import argparse
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TextIO

from reportd.cli.choosing import Place
from reportd.cli.watching import Watch, pause
from reportd.clock import Clock, SystemClock
from reportd.config.load import load
from reportd.config.secrets import Secret, SecretsFolder
from reportd.errors import ConfigError
from reportd.model.content import Content
from reportd.model.request import Request
from reportd.partners.partner import Partner
from reportd.partners.recording import Player, Recorder, Send, new_recording
from reportd.partners.redaction import redacted_reason
from reportd.sinks.store import Notes
from reportd.transport.assertion import signed
from reportd.transport.client import Client
from reportd.transport.credentials import Credentials
from reportd.transport.token_files import TokenMemory
from reportd.transport.tokens import Tokens
from reportd.trial.replay import NoTokens, no_secret, open_recording
from reportd.trial.run import Trial
from reportd.worker.opening import open_output


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A trial's surroundings: the real world, or a recording."""

    trial: Trial
    watch: Watch
    player: Player | None = None
    """Who answers from a recording; None: the partner does."""
    recorder: Recorder | None = None

    @property
    def secrets(self) -> Collection[str]:
        """Return what of the last call nobody may see."""
        return self.watch.secrets

    def run(self, request: Request) -> list[Content]:
        """Run the trial; what was exchanged is recorded, however it ends."""
        try:
            return self.trial.run(request)
        finally:
            if self.recorder is not None:
                self.recorder.close()


def stage_of(
    args: argparse.Namespace, partner: Partner, request: Request, place: Place, out: TextIO
) -> Stage:
    """Return the stage that the command line asks for; raises `ConfigError`."""
    watch = Watch(out)
    if args.replay is not None:
        player, recorded = open_recording(args.replay)
        trial = Trial(
            partner=partner,
            send=player.send,
            credentials=Credentials(no_secret, NoTokens(), recorded),
            clock=recorded,
            pause=recorded.pause,
            watcher=watch,
            patience_seconds=float("inf"),
        )
        return Stage(trial=trial, watch=watch, player=player)
    clock = SystemClock()
    client = Client(1)
    recorder = None
    if args.record is not None:
        new_recording(args.record, request)
        recorder = Recorder(client.send, args.record, clock.wall, lambda: watch.secrets)
    trial = Trial(
        partner=partner,
        send=recorder.send if recorder is not None else client.send,
        credentials=_credentials(args, partner, place, watch.asking_for_tokens(client.send), clock),
        clock=clock,
        pause=pause,
        watcher=watch,
        patience_seconds=args.patience,
    )
    return Stage(trial=trial, watch=watch, recorder=recorder)


def _credentials(
    args: argparse.Namespace, partner: Partner, place: Place, send: Send, clock: Clock
) -> Credentials:
    """Return what reads secrets and fetches tokens; those that rotate are kept at the output."""
    read = _reader(args, place)
    oauth2 = partner.spec.auth.oauth2
    rotates = oauth2 is not None and oauth2.grant == "refresh_token" and oauth2.rotates
    tokens = Tokens(
        read=read,
        send=send,
        sign=signed,
        files=TokenMemory(),
        clock=clock,
        hide=redacted_reason,
        notes=_notes(args, partner) if rotates else None,
    )
    return Credentials(read, tokens, clock)


def _notes(args: argparse.Namespace, partner: Partner) -> Notes:
    """Return where refresh tokens that rotate are kept: without it the next one would be lost."""
    try:
        return open_output(load(args.config).settings.output).notes
    except ConfigError as error:
        raise ConfigError(
            f"{partner.name}: its refresh tokens rotate, and the next one is kept at the output:"
            " name a configuration that works with --config (see auth.oauth2.rotates)",
            *error.problems,
        ) from None


def _reader(args: argparse.Namespace, place: Place) -> Callable[[str], Secret]:
    folder = SecretsFolder(args.secrets) if args.secrets is not None else place.secrets

    def read(name: str) -> Secret:
        if folder is None:
            raise ConfigError(
                f"secret {name!r}: {args.config} is not there to say where secrets are; name"
                " their folder with --secrets"
            )
        return folder.read(name)

    return read
