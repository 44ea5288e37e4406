"""Judges: the agents' networks under the latest weights that came, to ask for their moves.

Owned by the actor's prober. Torch is loaded only where there are probes, and runs on one thread.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import chess
import numpy.typing as npt

from common.errors import RookeryError, SettingsError
from common.trouble import Trouble

if TYPE_CHECKING:
    from agent.networks import Network
    from agent.player import Judgement

log = logging.getLogger(__name__)

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Weights:
    version: int
    network: str
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Judge:
    """One agent at one version of its weights."""

    version: int
    network: "Network"

    def judge(self, boards: Sequence[chess.Board]) -> "list[Judgement]":
        """Return what the agent makes of `boards`, each with the agent to move and a legal move."""
        from agent.player import judge

        return judge(self.network, boards)


class Judges:
    """The latest judge of each agent."""

    def __init__(self, load: "Callable[[str, Arrays], Network] | None" = None) -> None:
        """`load` makes a network of its name and arrays, raising StoreError; by default as players do."""
        self._load = load or _network_of
        self._not_usable = Trouble(log, "weights not usable", "weights usable again")
        self._fresh: dict[str, _Weights] = {}
        """Weights that have come and are not in use yet, by agent."""
        self._judges: dict[str, Judge] = {}

    def renew(self, agent: str, version: int, network: str, arrays: Arrays) -> None:
        """Take new weights of `agent`; they are in use from the next call of `latest`."""
        self._fresh[agent] = _Weights(version=version, network=network, arrays=arrays)

    def latest(self, agent: str) -> Judge | None:
        """Return the agent under its latest weights that can be used; None if none have come."""
        weights = self._fresh.pop(agent, None)
        if weights is not None:
            try:
                network = self._load(weights.network, weights.arrays)
            except RookeryError as error:
                self._not_usable.again(f"{agent}, version {weights.version}: {error}")
            else:
                self._not_usable.over()
                self._judges[agent] = Judge(weights.version, network)
        return self._judges.get(agent)


def load_libraries() -> None:
    """Load what only probes need, so that no engine waits for it later; raise SettingsError where it is missing."""
    try:
        import torch

        import agent.loading  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"probes need {error.name}: pip install 'rookery[actor,probes]', or set probe_rate to 0"
        ) from error
    torch.set_num_threads(1)


def _network_of(name: str, arrays: Arrays) -> "Network":
    from agent.loading import network_of

    return network_of(name, arrays)
