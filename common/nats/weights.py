"""The latest weights of each agent, in an object store: published by its learner, watched and got by actors.

An object an agent, under its name: envelope and body as common/nats/frames.py has them. Two writings of it are kept
in turn, so that who reads one has time until the next but one.
"""

import asyncio
from dataclasses import dataclass

from common import wire
from common.errors import MessageError
from common.links import Weights
from common.messages import WeightsHeader
from common.nats import frames, objects
from common.nats.connection import NatsConnection
from common.nats.names import Bucket
from common.nats.objects import About
from common.weights_check import check_weights

MAX_WEIGHTS_BYTES = wire.MAX_BODY_BYTES + frames.MAX_HEAD_BYTES


@dataclass(frozen=True, slots=True)
class Told:
    """What is told about an agent's weights: enough to know whether they are wanted."""

    about: About
    session: str
    version: int

    @property
    def agent(self) -> str:
        """Whose they are."""
        return self.about.name


def read_told(data: bytes) -> Told | None:
    """Return what is told about weights; None for removed ones. Raises MessageError for anything else."""
    about = objects.read_about(data)
    return _told(about) if about is not None else None


def _told(about: About) -> Told:
    try:
        return Told(about, about.metadata["session"], int(about.metadata["version"]))
    except (KeyError, ValueError) as error:
        raise MessageError(f"about weights: {error!r}") from error


async def look(connection: NatsConnection, bucket: Bucket, agent: str) -> Told | None:
    """Return what is told about the weights of an agent; None where there are none."""
    about = await objects.look(connection, bucket, agent)
    return _told(about) if about is not None else None


async def put(
    connection: NatsConnection, bucket: Bucket, header: WeightsHeader, body: bytes, before: Told | None = None
) -> Told:
    """Put weights in the place of those that are there, `before` if that is known.

    Raises Away and Rejected as `objects.put` does; MessageError, and puts nothing, where the body is not what
    the header says.
    """
    await asyncio.to_thread(check_weights, header, body)
    name = header.agent
    if before is None:
        try:
            before = await look(connection, bucket, name)
        except MessageError:  # somebody else's: it is overwritten
            pass
    slot = 1 if before is not None and before.about.nuid == _nuid(name, 0) else 0
    metadata = {"session": header.session, "version": str(header.version), "step": str(header.step)}
    payload = frames.pack(wire.encode(header), body)
    return _told(await objects.put(connection, bucket, name, _nuid(name, slot), payload, metadata))


async def get(connection: NatsConnection, bucket: Bucket, told: Told) -> Weights:
    """Return the weights that were told about, their hashes checked; raises as `objects.get` does."""
    payload = await objects.get(connection, bucket, told.about, max_bytes=MAX_WEIGHTS_BYTES)
    envelope, body = frames.unpack(payload)
    header: WeightsHeader = wire.decode(envelope, WeightsHeader)
    if (header.agent, header.session, header.version) != (told.agent, told.session, told.version):
        raise MessageError(f"weights are not what they say: {header.agent} {header.version}")
    await asyncio.to_thread(check_weights, header, body)
    return Weights(header, body)


def _nuid(agent: str, slot: int) -> str:
    # Two tokens: a learner may write what begins with the first, which is its agent.
    return f"{agent}.{slot}"
