"""Whether a NATS server lets us in, and what people are told where none does."""

from typing import Any

from common.errors import BrokerUnreachable, KeptOut
from common.nats.channel import NatsChannel, State
from common.nats.connection import NatsConnection
from common.nats.way import NatsWay

KNOCK_S = 10.0


def knock(way: NatsWay, timeout_s: float = KNOCK_S) -> None:
    """Return once a server has let us in; raise BrokerUnreachable, or KeptOut, after `timeout_s`."""
    channel = way.channel(_idle, "knocks", quiet=True)
    channel.start()
    try:
        channel.wait_until(lambda: channel.state in (State.CONNECTED, State.REFUSED), timeout_s)
        if channel.state is not State.CONNECTED:
            raise unreachable(way, channel, timeout_s)
    finally:
        channel.close()


def unreachable(way: NatsWay, channel: NatsChannel[Any], timeout_s: float) -> BrokerUnreachable:
    """Return what is to be raised where nobody has answered in time, by how the channel stands."""
    address = way.address
    if channel.state is State.REFUSED:
        return KeptOut(
            f"the NATS server at {address} does not let us in ({channel.reason}): is this key in its "
            "configuration, and is --keys right?"
        )
    if channel.state is State.CONNECTED:
        return BrokerUnreachable(
            f"no broker answers on NATS at {address} within {timeout_s:g} s: is rookery-broker running, and is "
            f"--namespace {way.names.namespace} right?"
        )
    why = f" ({channel.reason})" if channel.reason else ""
    return BrokerUnreachable(
        f"no NATS server answers at {address} within {timeout_s:g} s{why}: is it running, and is --transport right?"
    )


async def _idle(connection: NatsConnection) -> None:
    del connection
