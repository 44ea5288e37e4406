"""A learner in this process, with a broker that hands it whatever its store lacks: product code, no sockets."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from agent.weights import digest, load_weights
from common.batch import decode
from common.errors import StoreDamaged
from common.settings import AgentSettings, Settings
from deploy.sequential import AgentRun
from learner.directory import AgentDirectory

MENDS_MAX = 3


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run came to."""

    weights: str
    """Digest of the weights in the file."""
    bodies: dict[int, bytes]
    """What the store holds."""
    units_made_again: int
    mended: int


def train_to_the_end(settings: Settings, agent: AgentSettings, bodies: Mapping[int, bytes]) -> Trained:
    """Open an agent's directory as a learner does, make again what is missing, and train on all units."""
    run = AgentRun(settings, agent)
    again = mended = 0
    with contextlib.ExitStack() as stack:
        stack.callback(run.close)
        while not run.session.finished:
            try:
                for unit in sorted(
                    set(bodies) - {unit for first, last in run.stored for unit in range(first, last + 1)}
                ):
                    run.put(decode(bodies[unit]))
                    again += 1
                while run.train_one():
                    pass
                run.session.finish(run.store)
            except StoreDamaged:
                mended += 1
                if mended > MENDS_MAX:
                    raise
                run.mend()
        kept = {int(unit): body for unit, body in run.store.read_from(0)}
    weights, _ = load_weights(AgentDirectory.of(settings.directory, agent.name).weights)
    return Trained(digest(weights), kept, again, mended)
