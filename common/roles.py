"""What a process is to the broker, and what an operator can order: words of the messages."""

from enum import StrEnum


class Role(StrEnum):
    """What a process that says hello is there for."""

    ACTOR = "actor"
    LEARNER = "learner"
    COLLECTOR = "collector"
    OPERATOR = "operator"


class Action(StrEnum):
    """What an operator can order actors to do."""

    PAUSE = "pause"
    """Finish the units in hand, take no more, stay connected."""
    RESUME = "resume"
    """Take units again."""
    DRAIN = "drain"
    """Finish the units in hand and exit."""
    RESET = "reset"
    """Give the units in hand back and start the engine anew."""
