"""What a transport gives to the tests that hold every transport to the same promises.

The tests of this folder drive links, made by `Site.transport`, against a live broker, and see of it what its peers
and operators see. A transport comes under them with a class like this and a line in conftest.py.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from common.keys import KeyHolder
from common.links import Transport
from common.messages import Role

OPERATOR = KeyHolder(Role.OPERATOR, "operator")


class Site(Protocol):
    """The broker's side of a transport: a context manager that leaves nothing running, of one run."""

    lease_timeout_s: float
    """After this long without progress a lease runs out."""
    redelivery_s: float
    """After this long a batch that was not acknowledged is delivered again."""
    silence_s: float
    """After this long a process that has said nothing counts as away."""

    weights_pass_the_broker: bool
    """Whether it keeps out those of a learner that was replaced; else the agent's key decides who publishes."""

    def broker(self, *, units: int = 8, ahead: int = 64) -> AbstractContextManager[None]:
        """Run a broker of tests.links.games.FewGames, for the agents and with the settings of tests.links.peers.

        `ahead` is its max_units_ahead. It ends without a word to anybody, as one that is killed; the next one is
        the same run's, started anew.
        """

    def transport(self, holder: KeyHolder) -> Transport:
        """Return the way to the broker, whether it is there or not."""

    def pass_time(self, seconds: float, turn: Callable[[], object]) -> None:
        """Let so much of the broker's time pass: by a jump of its clock, or by taking turns meanwhile."""

    def stranger(self, holder: KeyHolder, session: str) -> "Stranger":
        """Return a peer that says what it likes, under the name and the session of a peer that keeps the rules."""

    def impostor(self) -> AbstractContextManager["Impostor"]:
        """Put somebody in the broker's place who says what he likes; no broker is there meanwhile."""


class Stranger(Protocol):
    """A peer without a link: bytes as they stand, to where a link's go."""

    def say(self, envelope: bytes) -> None:
        """Say something to the broker."""

    def hear(self) -> bytes:
        """Return the next envelope that the broker says to it; waits for some seconds, then fails."""

    def send_batch(self, agent: str, unit: int, envelope: bytes, body: bytes) -> None:
        """Send what would be a batch of that unit; one that is sent while nobody takes it may get lost."""

    def publish(self, agent: str, envelope: bytes, body: bytes) -> None:
        """Publish what would be weights of that agent; may get lost as batches may."""

    def log(self, frame: bytes) -> None:
        """Send what would be a log record; may get lost as batches may."""

    def close(self) -> None:
        """Vanish without a word."""


class Impostor(Protocol):
    """What comes from peers, and a way to answer it: envelopes as they stand."""

    def heard(self) -> list[tuple[object, bytes]]:
        """Return what peers, operators among them, have said since the last time: who, and the envelope."""

    def say(self, peer: object, envelope: bytes) -> None:
        """Say something to a peer that was heard."""
