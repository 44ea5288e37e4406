"""What a service may ask of the transport: one small typed link for each role, and nothing else.

Services hold no socket code. ZeroMQ is behind these in common/zmq_links.py; another transport comes in
behind the same protocols. A link is used from one thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.messages import (
    ActorReport,
    BatchHeader,
    LearnerReport,
    Lease,
    Order,
    PublishAgain,
    RawGame,
    Refusal,
    Status,
    StoredUnit,
    StoreTotals,
    Totals,
    WeightsHeader,
    Welcome,
)


@dataclass(frozen=True, slots=True)
class LeasedUnit:
    """A lease with its games."""

    lease: Lease
    games: Sequence[RawGame]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A batch for a learner, its body unopened."""

    header: BatchHeader
    body: bytes


@dataclass(frozen=True, slots=True)
class Weights:
    """A set of weights whose hash has been checked, its body unopened."""

    header: WeightsHeader
    body: bytes


ActorEvent = LeasedUnit | Weights | Order | Refusal | Welcome
LearnerEvent = Delivered | Totals | PublishAgain | Refusal | Welcome


class ActorLink(Protocol):
    """An actor's side: units in, batches out, weights as they come."""

    def poll(self, timeout_s: float) -> list[ActorEvent]:
        """Return what has come, after at most `timeout_s`; says hello anew by itself where it must."""

    def capacity(self, units: int) -> None:
        """Say how many units can be held at once; call it about once a second."""

    def renew(self, units: Sequence[int], report: ActorReport) -> None:
        """Report the units in hand and the progress."""

    def release(self, units: Sequence[int]) -> None:
        """Give units back."""

    def send(self, header: BatchHeader, body: bytes) -> bool:
        """Send a batch; False when the way is full: try again later."""

    def close(self) -> None:
        """Say goodbye and flush."""


class LearnerLink(Protocol):
    """A learner's side: batches in against credit, acknowledgements and weights out."""

    def poll(self, timeout_s: float) -> list[LearnerEvent]:
        """Return what has come, after at most `timeout_s`."""

    def credit(self, batches: int) -> None:
        """Let this many batches be under way at once; call it about once a second."""

    def stored(self, units: Sequence[StoredUnit], totals: StoreTotals) -> None:
        """Acknowledge batches that are on disk."""

    def decline(self, unit: int, reason: str) -> None:
        """Say that a batch can't be used: its unit is leased again."""

    def report(self, report: LearnerReport) -> None:
        """Report progress."""

    def publish(self, header: WeightsHeader, body: bytes) -> None:
        """Publish weights."""

    def close(self) -> None:
        """Say goodbye and flush."""


class OperatorLink(Protocol):
    """An operator's side: questions and orders."""

    def status(self, timeout_s: float) -> Status:
        """Ask how things stand; raises BrokerUnreachable after `timeout_s`."""

    def command(self, action: str, names: Sequence[str], timeout_s: float) -> tuple[list[str], list[str]]:
        """Order actors; return (names that it went to, names that are unknown)."""

    def close(self) -> None:
        """Close."""
