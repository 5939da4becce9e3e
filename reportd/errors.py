"""What can go wrong, by what the caller does about it.

Used by every process. A library's own errors are translated once, in the module that owns the
library, with ``raise ... from``. All of them survive pickling.
"""

EXIT_PARTIAL = 3
"""``reportctl wait``: the run is over, and something is missing."""

EXIT_TIMEOUT = 4
"""``reportctl wait``: the run is not over in time."""

EXIT_UNAVAILABLE = 75
"""Something outside is not there yet (broker, output): systemd tries again for ever."""

EXIT_CONFIG = 78
"""The configuration is wrong, or this VM must not run: do not restart."""


class ReportdError(Exception):
    """Unexpected reportd error."""

    def __init__(self, message: str = "") -> None:
        """Default the message to the class's docstring."""
        super().__init__(message or type(self).__doc__)


class ConfigError(ReportdError):
    """The configuration is wrong."""

    def __init__(self, *problems: str) -> None:
        """Take every problem found, each with its path (``file: section.key: what``)."""
        self.problems = problems
        Exception.__init__(self, *problems)

    def __str__(self) -> str:
        """One problem a line."""
        return "\n".join(self.problems)


class UnavailableError(ReportdError):
    """Something outside is away (broker, output); it is worth trying again later."""


class NotYetError(UnavailableError):
    """A credential is not at hand yet; nothing is wrong with it, as far as is known."""

    def __init__(self, message: str, wait_seconds: float) -> None:
        """Say what is waited for, and when to ask again."""
        super().__init__(message)
        self.args = (message, wait_seconds)
        self.wait_seconds = wait_seconds

    def __str__(self) -> str:
        """Say what is waited for."""
        return str(self.args[0])


class CredentialRefusedError(ReportdError):
    """A token server refuses a credential: somebody has to authorize anew."""


class BrokerError(UnavailableError):
    """The broker did not do what it was asked."""


class OutputError(UnavailableError):
    """The output cannot be written."""


class NoRoomError(OutputError):
    """TMPDIR has no room for a large answer: this machine's fault, and for a while."""


class InvalidMessageError(ReportdError):
    """A message from a topic does not validate: poison, a dead letter."""


class UnexpectedAnswerError(ReportdError):
    """A partner's answer does not parse, or breaks the declared columns."""


class FencedError(ReportdError):
    """The lease on the partition has run out: nothing may be called or published."""


class ThreadError(ReportdError):
    """A thread of a worker ended by a bug."""


class Halt(BaseException):
    """End this process with an exit status and a reason; ``except Exception`` cannot eat it."""

    def __init__(self, status: int, reason: str) -> None:
        """Say why in one line."""
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
