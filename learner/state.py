"""The state of training: all that a trainer goes on from, as plain values and arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from agent.weights import Arrays


class RandomState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State of a PCG64 generator; its two 128-bit numbers in hexadecimal, since JSON has none so long."""

    state: str
    increment: str
    has_half: bool
    """Whether half of a 64-bit number is still to be used."""
    half: int

    @classmethod
    def of(cls, generator: np.random.Generator) -> "RandomState":
        """Return the state of `generator`, which must draw from PCG64."""
        state = generator.bit_generator.state
        return cls(
            state=f"{state['state']['state']:x}",
            increment=f"{state['state']['inc']:x}",
            has_half=bool(state["has_uint32"]),
            half=int(state["uinteger"]),
        )

    def generator(self) -> np.random.Generator:
        """Return a generator that goes on from here."""
        bits = np.random.PCG64()
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": int(self.state, 16), "inc": int(self.increment, 16)},
            "has_uint32": int(self.has_half),
            "uinteger": self.half,
        }
        return np.random.Generator(bits)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainerState:
    """The state between two units: what a checkpoint holds."""

    agent: str
    network: str
    """Name of the network, as in the settings."""
    step: int
    """Gradient steps taken."""
    version: int
    """Version of the latest weights published."""
    next_unit: int
    """Units 0 to this one (excluded) are trained."""
    transitions: int
    """Transitions trained on."""
    td_error: float | None
    """Exponential mean of the units' held-out TD errors; None before the first."""
    validation_loss: float | None
    """Loss on the games that are kept out of training; None where there are none yet."""
    random_state: RandomState
    arrays: Mapping[str, Arrays]
    """The model's arrays in groups (see learner.models.Model.state)."""
    validation_rows: int = 0
    """Transitions of those games that the loss is over."""
