"""Every error that Rookery raises on purpose, split by who has to act.

    RookeryError                       exit 1
    ├── OperatorError                  exit 2   the person at the keyboard has to change something
    │   ├── SettingsError                       an unknown, ill-typed or contradictory setting
    │   ├── SourceError                         games that are missing, unreadable or not PGN
    │   ├── EngineNotUsable                     no engine there, or not one that speaks UCI
    │   ├── RunDirectoryError                   a run directory that is locked, foreign or not writable
    │   ├── StoreError                          an experience or evaluation store that can't be used
    │   │   └── StoreDamaged                    an experience store with bytes that are not as they were written
    │   ├── BrokerUnreachable                   nobody answers at the broker's address
    │   │   └── KeptOut                         a broker is there, and does not let this key in
    │   └── Refused                             the broker turned this service away
    ├── PeerError                      exit 1   another process sent or did something wrong
    │   ├── MessageError                        a message that breaks the protocol: counted and dropped
    │   └── EngineDied                          the engine stopped answering
    └── TrainingError                  exit 3   training can't go on (NaN); the last checkpoint is kept

Each command prints `str(error)` as its one line and exits with `exit_code`.
"""

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended before it was done: 128 + SIGINT, as shells have it."""

INTERNAL = 70
"""Exit code of a command that met an error of our own: EX_SOFTWARE of sysexits.h."""

EXIT_CODES = {
    0: "done, or drained and saved",
    1: "it failed, not by what was typed: the line says why; a check failed",
    2: "usage, settings, games, engine, places: the line says what to do",
    3: "training broke down (NaN); the last checkpoint is kept",
    INTERNAL: "an error in Rookery itself: please report the line",
    INTERRUPTED: "ended by Ctrl-C",
}
"""What each exit code of a command means; docs/operations.md has the same."""


class RookeryError(Exception):
    """Root of all errors that Rookery raises on purpose."""

    exit_code = 1


class OperatorError(RookeryError):
    """Something that the operator asked for can't be done as asked."""

    exit_code = 2


class SettingsError(OperatorError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class SourceError(OperatorError):
    """A source of games is missing, unreadable, empty, or not PGN."""


class EngineNotUsable(OperatorError):
    """The engine's path leads to nothing that speaks UCI."""


class RunDirectoryError(OperatorError):
    """The run directory is locked, belongs to other games or settings, or can't be written."""


class StoreError(OperatorError):
    """A store on disk is damaged, of another format, or belongs to another agent."""


class StoreDamaged(StoreError):
    """An experience store is not as it was written; its learner mends it: what can be read is kept."""


class BrokerUnreachable(OperatorError):
    """No broker answers at the address that the settings give."""


class KeptOut(BrokerUnreachable):
    """A broker is at the address, and does not let us in: the keys are not right, or not yet."""


class Refused(OperatorError):
    """The broker turned this service away and said why."""


class PeerError(RookeryError):
    """Another process did something that it must not do."""


class MessageError(PeerError):
    """A message breaks the protocol: it is counted under its `reason`, logged and dropped."""

    @property
    def reason(self) -> str:
        """What stands before the first colon: never text or numbers of the peer's."""
        return str(self).partition(":")[0]


class EngineDied(PeerError):
    """The engine ended, hung, or broke the UCI protocol in mid-search."""


class TrainingError(RookeryError):
    """Training can't go on, for example because a loss is not a number: starting again won't mend it."""

    exit_code = 3
