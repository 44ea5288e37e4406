"""What a service may ask of the transport: one small typed link for each role, and nothing else.

Services hold no socket code: they are given a `Transport`, which makes their links, and know nothing else of how
messages get about. ZeroMQ is behind these protocols in common/zmq/transport.py; which transport it is,
common/security.py decides. A link is used from one thread. What holds on every transport, tests/links shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.messages import (
    ActorReport,
    BatchHeader,
    Hello,
    LearnerReport,
    Lease,
    LogRecord,
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
        """Return what has come, after at most `timeout_s`; says hello anew by itself where it must.

        Raises Refused where the broker speaks another protocol.
        """

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
        """Return what has come, as an actor's link does."""

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


class CollectorLink(Protocol):
    """A log collector's side: every service's records in, a report of them out."""

    malformed: int
    """What came and was no record."""

    def poll(self, timeout_s: float) -> list[LogRecord]:
        """Return the records that have come, after at most `timeout_s`; raises Refused when turned away."""

    def report(self, records: int, missing: int) -> None:
        """Report how many records came and how many are missing."""

    def close(self) -> None:
        """Say goodbye and close."""


class OperatorLink(Protocol):
    """An operator's side: questions and orders."""

    def status(self, timeout_s: float) -> Status:
        """Ask how things stand.

        Raises BrokerUnreachable after `timeout_s`, KeptOut (one of those) where a broker does not let us in, and
        Refused where it speaks another protocol.
        """

    def command(self, action: str, names: Sequence[str], timeout_s: float) -> tuple[list[str], list[str]]:
        """Order actors; return (names that it went to, names that are unknown). Raises as `status` does."""

    def close(self) -> None:
        """Close."""


class LogOutlet(Protocol):
    """Where a process's log records go out, packed. Made and used in the logging thread only; never logs."""

    def ready(self) -> bool:
        """Whether records are taken now, because somebody listens or they are kept for who will; call it often."""

    def send(self, frame: bytes) -> bool:
        """Send a packed LogRecord; False when it was not taken: keep it, and try again later."""

    def close(self) -> None:
        """Flush and close."""


class Transport(Protocol):
    """A way to reach a run's broker, with one process's credentials. Makes links; holds no connection itself.

    A link is made whether a broker is there or not. An address that is none raises OperatorError.
    """

    @property
    def address(self) -> str:
        """Where the broker is, as told to people: tcp://127.0.0.1:5750."""

    def actor(self, name: str, session: str, identity: dict[str, str]) -> ActorLink:
        """Return the link of the actor `name`; `identity` are the settings that must be the broker's."""

    def learner(self, agent: str, session: str, make_hello: Callable[[], Hello]) -> LearnerLink:
        """Return the link of an agent's learner; `make_hello` tells what it has, each time that it says hello."""

    def collector(self, name: str, session: str) -> CollectorLink:
        """Return the link of the log collector `name`."""

    def operator(self) -> OperatorLink:
        """Return an operator's link, for questions and orders."""

    def log_outlet(self) -> LogOutlet:
        """Return where this process's log records go out."""
