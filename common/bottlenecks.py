"""What may hold a run back: words of the messages."""

from enum import StrEnum


class BottleneckKind(StrEnum):
    """What holds a run back. A further one takes a new protocol version: an older operator can't read it."""

    NONE = "none"
    WAITING = "waiting"
    """For a service that is not there."""
    STOCKFISH = "Stockfish-bound"
    ACTOR = "actor-bound"
    NETWORK = "network-bound"
    BROKER = "broker-bound"
    LEARNER = "learner-bound"
