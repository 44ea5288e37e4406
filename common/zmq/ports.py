"""Where the broker's seven channels are, all from one host and one base port, and the keys to reach them with."""

from dataclasses import dataclass

from common.zmq.keys import PeerKeys


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP endpoints of a broker; the ports follow one another from `base_port`."""

    host: str
    base_port: int
    keys: PeerKeys | None = None
    """None connects in the clear."""

    def _endpoint(self, offset: int) -> str:
        return f"tcp://{self.host}:{self.base_port + offset}"

    @property
    def control(self) -> str:
        """DEALER of everybody → ROUTER."""
        return self._endpoint(0)

    @property
    def experience(self) -> str:
        """PUSH of actors → PULL."""
        return self._endpoint(1)

    @property
    def delivery(self) -> str:
        """ROUTER → DEALER of learners."""
        return self._endpoint(2)

    @property
    def weights_in(self) -> str:
        """PUB of learners → SUB."""
        return self._endpoint(3)

    @property
    def weights_out(self) -> str:
        """PUB → SUB of actors."""
        return self._endpoint(4)

    @property
    def logs_in(self) -> str:
        """XPUB of everybody → XSUB."""
        return self._endpoint(5)

    @property
    def logs_out(self) -> str:
        """XPUB → SUB of collectors."""
        return self._endpoint(6)


def own_topic(session: str) -> bytes:
    """Return the topic on weights out of what is for one actor alone; no agent's name has a space in it."""
    return b"to " + session.encode()


CHANNELS = ("control", "experience", "delivery", "weights_in", "weights_out", "logs_in", "logs_out")
"""Names of the endpoints, in the order of their ports."""
