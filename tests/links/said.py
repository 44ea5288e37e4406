"""Words of strangers: what their hello says, what they are answered, and what makes no sense at all."""

from typing import Any

import msgpack

from common import wire
from common.messages import PROTOCOL_VERSION, FromBroker, Hello, Lease, Message, Role
from tests.links.peers import IDENTITY
from tests.links.site import Stranger


def hello_of(session: str, **fields: Any) -> Hello:
    """A collector's hello, unless `fields` say otherwise."""
    given = {"role": Role.COLLECTOR, "name": "logs", "host": "h", "pid": 1, "software": "0"} | fields
    return Hello(session=session, **given)


def actors_hello(name: str, session: str, **fields: Any) -> Hello:
    return hello_of(session, role=Role.ACTOR, name=name, settings=IDENTITY, **fields)


def learners_hello(agent: str, session: str, **fields: Any) -> Hello:
    given = {"role": Role.LEARNER, "name": f"learner-{agent}", "agent": agent, "settings": IDENTITY}
    return hello_of(session, **(given | fields))


def say(stranger: Stranger, message: Message) -> None:
    stranger.say(wire.encode(message))


def heard(stranger: Stranger) -> Message:
    found: Message = wire.decode(stranger.hear(), FromBroker)
    return found


def foreign(version: int = PROTOCOL_VERSION + 1) -> bytes:
    """An envelope of another version of the protocol."""
    return msgpack.packb({"v": version, "kind": "hello", "from": "the future"})


NONSENSE = [
    b"",
    b"\xc1",
    b"x" * 5000,
    b"\x91" * 100_000,
    msgpack.packb({"v": PROTOCOL_VERSION, "kind": "totals", "units": 1, "games": 1}),
    msgpack.packb({"v": PROTOCOL_VERSION, "kind": "lease-request", "capacity": -1}),
    msgpack.packb({"v": PROTOCOL_VERSION, "kind": "no such kind"}),
    wire.encode(Lease(unit=1, agents=["white"])),
]
"""Envelopes that no peer sends to a broker."""
