"""The control channel: who joins and leaves, what actors and learners say of themselves, operators' orders.

Called by the router with what came in, and replies through it; owns no socket. A message that its sender may
not send raises MessageError, which the router counts.
"""

from collections.abc import Callable, Iterable
from logging import getLogger
from typing import Protocol

from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.registry import Registry, Service
from common import wire
from common.errors import MessageError
from common.intervals import IntervalSet
from common.keys import KeyHolder
from common.messages import (
    Action,
    BatchHeader,
    CollectorReport,
    Command,
    CommandReply,
    Declined,
    Goodbye,
    Hello,
    LearnerReport,
    LeaseRequest,
    Message,
    Order,
    PublishAgain,
    Refusal,
    Release,
    Renew,
    Role,
    Status,
    StatusRequest,
    Stored,
    ToBroker,
    Totals,
    Unknown,
    WeightsRequest,
    Welcome,
)
from common.settings import differences
from common.words import MAX_REASON_CHARACTERS, AgentName, Unit

log = getLogger(__name__)


class Reply(Protocol):
    """Sends frames to a peer on the control channel."""

    def __call__(self, peer: bytes, *frames: bytes) -> bool:
        """Send, or return False when the peer has gone or does not read."""


class Leases(Protocol):
    """Who has which unit: the broker's dispatcher, or, where a server's stream hands them out, nobody here.

    The methods are those of `broker.dispatcher.Dispatcher`.
    """

    def actor_joined(self, name: str, session: str, units: Iterable[Unit] = ()) -> None:
        """Take an actor in."""

    def actor_left(self, name: str) -> None:
        """Give back everything that an actor held."""

    def capacity(self, name: str, units: int) -> None:
        """Note how many leases an actor can hold."""

    def accept(self, name: str, accepting: bool) -> None:
        """Let an actor have units, or no more."""

    def renewed(self, name: str, units: Iterable[Unit], positions: int) -> None:
        """Extend an actor's leases, if it has made progress."""

    def released(self, name: str, units: Iterable[Unit]) -> None:
        """Give back units that an actor will not finish."""


class PublishedWeights(Protocol):
    """What is known of the agents' latest weights; as `broker.weights.LatestWeights`."""

    def version(self, agent: str, session: str) -> int:
        """Return the version kept of those that a session has published; -1 for none."""

    def newer_than(self, agent: str, session: str | None, version: int) -> list[bytes] | None:
        """Return envelope and body of an agent's weights, None where they are no newer than what is at hand."""


SendWeights = Callable[[str, list[bytes]], None]
"""Sends an actor's session weights, as envelope and body."""
Announced = Callable[[BatchHeader], None]
"""Takes an actor's word that a batch of its own has gone past the broker."""


class Control:
    """Answers the control channel. Invariant: every reply goes out without waiting for anybody."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        leases: Leases,
        registry: Registry,
        feed: UnitFeed,
        weights: PublishedWeights,
        identity: dict[str, str],
        session: str,
        reply: Reply,
        send_weights: SendWeights,
        announced: Announced | None,
        drop: Callable[[str, str], None],
        status: Callable[[], Status],
    ) -> None:
        self._dispatcher, self._leases, self._registry = dispatcher, leases, registry
        self._feed, self._weights, self._announced = feed, weights, announced
        self._identity, self._session = identity, session
        self._reply, self._send_weights, self._drop, self._status = reply, send_weights, drop, status

    def handle(self, frames: list[bytes], sender: KeyHolder | None = None) -> None:
        """Take a message: the sender's routing id, and its envelope. `sender` is whose key it came in under.

        None is a sender without a key, where none are asked for: it is believed what it says of itself.
        """
        if len(frames) != 2:
            raise MessageError("control frames: not two")
        session = frames[0].decode("latin-1")
        try:
            message = wire.decode(frames[1], ToBroker)
        except wire.ProtocolMismatch as error:
            self._refuse(frames[0], str(error))
            raise
        match message:
            case Hello():
                if message.session != session:
                    raise MessageError("hello: session is not the sender's")
                self._on_hello(message, sender)
                return
            case StatusRequest():
                self._reply(frames[0], wire.encode(self._status()))
                return
            case Command():
                if sender is not None and sender.role is not Role.OPERATOR:
                    raise MessageError(f"only operators give orders: {message.action.value} from {sender}")
                self._reply(frames[0], wire.encode(self._on_command(message)))
                return
        service = self._registry.of_session(session)
        if service is None:
            if session in self._registry.replaced:
                self._refuse(frames[0], self._registry.replaced[session])
            elif not isinstance(message, Goodbye):
                self._reply(frames[0], wire.encode(Unknown()))
            return
        if sender is not None and not _is(sender, service.hello):
            raise MessageError(f"session of another service: {service.hello.name} from {sender}")
        self._registry.heard(session)
        before = service.progress
        if service.hello.role is Role.ACTOR:
            self._on_actor(service, message)
        elif service.hello.role is Role.LEARNER:
            self._on_learner(service, message)
        elif isinstance(message, CollectorReport):
            service.collector = message
        self._registry.progressed(service, before)
        if isinstance(message, Goodbye):
            self.lost(service, "goodbye")

    def send(self, session: str, message: Message, *bodies: bytes) -> bool:
        """Send to a service; one that can't be reached counts as gone, and False is returned."""
        if self._reply(session.encode(), wire.encode(message), *bodies):
            return True
        service = self._registry.of_session(session)
        if service is not None:
            self.lost(service, "unreachable")
        return False

    def _refuse(self, peer: bytes, reason: str) -> None:
        self._reply(peer, wire.encode(Refusal(reason=reason[:MAX_REASON_CHARACTERS])))

    def lost(self, service: Service, why: str) -> None:
        """Forget a service that has gone; what it held is free."""
        log.info("service left", extra={"service": service.hello.name, "why": why})
        self._registry.leave(service)
        if service.hello.role is Role.ACTOR:
            self._leases.actor_left(service.hello.name)
        if service.hello.role is Role.LEARNER and service.hello.agent is not None:
            self._dispatcher.learner_left(AgentName(service.hello.agent), service.hello.session)

    def totals(self) -> Totals:
        """Return how many units and games there are; only once that is known."""
        return Totals(units=self._feed.units_total or 0, games=self._feed.games_total or 0)

    # Hello ---------------------------------------------------------------------------------------

    def _on_hello(self, hello: Hello, sender: KeyHolder | None) -> None:
        reason = self._refusal(hello)
        if sender is not None and not _is(sender, hello):
            reason = f"this key is that of {sender}, not of the {hello.role.value} {hello.name}: use its own key"
        if reason:
            log.warning("refused", extra={"service": hello.name, "host": hello.host, "reason": reason})
            self._refuse(hello.session.encode(), reason)
            return
        stored = _intervals_of(hello)
        order = self._make_room(hello)
        is_new = self._registry.of_session(hello.session) is None
        service = self._registry.join(hello)
        if hello.role is Role.ACTOR:
            service.order = service.order or order
            self._leases.actor_joined(hello.name, hello.session, map(Unit, hello.units))
            self._leases.accept(hello.name, accepting=not service.order)
        if hello.role is Role.LEARNER and hello.agent is not None:
            lost = self._dispatcher.learner_joined(
                AgentName(hello.agent), hello.session, stored, hello.trained_units, hello.totals
            )
            if lost:
                log.warning("store has shrunk", extra={"agent": hello.agent, "units_lost": lost})
        if is_new:
            log.info("service joined", extra={"service": hello.name, "role": hello.role.value, "host": hello.host})
        if service.order == "paused":  # before it is welcome: then it would ask for units
            self.send(hello.session, Order(action=Action.PAUSE))
        self.send(hello.session, Welcome(broker=self._session, agents=list(self._dispatcher.ledgers)))
        if hello.role is Role.LEARNER and self._feed.units_total is not None:
            self.send(hello.session, self.totals())

    def _make_room(self, hello: Hello) -> str:
        """Turn away whom this service replaces; return the order that it takes over.

        A paused actor that was started anew stays paused; a drained one begins afresh.
        """
        before = self._registry.of_session(hello.session)
        if before is not None and _who(before.hello) != _who(hello):
            self.lost(before, "goes by another name")
        named = self._registry.by_name.get(hello.name)
        reason = f"{hello.name} was started anew on {hello.host} (pid {hello.pid}); the newer one goes on"
        for other in self._others(hello):
            self.lost(other, "replaced")
            if other.hello.started_ns <= hello.started_ns:  # else it has been silent, and goes on once it speaks
                self._registry.note_replaced(other.hello.session, reason)
                self._refuse(other.hello.session.encode(), reason)
        return "paused" if named is not None and named.order == "paused" else ""

    def _others(self, hello: Hello) -> list[Service]:
        """Return the services that have the name, or train the agent, of the one that says hello."""
        others = [self._registry.by_name.get(hello.name)]
        ledger = self._dispatcher.ledgers.get(AgentName(hello.agent or ""))
        if hello.role is Role.LEARNER and ledger is not None and ledger.session is not None:
            trains = self._registry.of_session(ledger.session)
            others += [trains] if trains is not others[0] else []
        return [other for other in others if other is not None and other.hello.session != hello.session]

    def _refusal(self, hello: Hello) -> str:
        if hello.session in self._registry.replaced:
            return self._registry.replaced[hello.session]
        for other in filter(self._registry.present, self._others(hello)):
            where = f"on {other.hello.host} (pid {other.hello.pid})"
            if other.hello.role is not hello.role:
                return f"the name {hello.name} is taken by the {other.hello.role} {where}: give another --name"
            if other.hello.started_ns > hello.started_ns:  # word of a process that has died since
                return f"{other.hello.name} was started later {where}; that one goes on"
        if hello.role is Role.LEARNER and hello.agent not in self._dispatcher.ledgers:
            known = ", ".join(self._dispatcher.ledgers)
            return f"no agent is called {hello.agent!r}; this broker has: {known}: share one settings file"
        if hello.role in (Role.ACTOR, Role.LEARNER):
            others = differences(self._identity, hello.settings)
            if others:
                return f"settings differ from the broker's ({'; '.join(others)}): share one settings file"
        return ""

    # Actors and learners ----------------------------------------------------------------------------

    def _on_actor(self, service: Service, message: Message) -> None:
        name = service.hello.name
        match message:
            case LeaseRequest():
                self._leases.capacity(name, message.capacity)
            case Renew():
                service.actor, service.units = message.report, message.units
                self._leases.renewed(name, map(Unit, message.units), message.report.positions)
            case BatchHeader(actor=named) if self._announced is not None:
                if named != name:
                    raise MessageError(f"batch of another actor: {named} from {name}")
                self._announced(message)
            case Release():
                self._leases.released(name, map(Unit, message.units))
            case WeightsRequest():
                frames = self._weights.newer_than(message.agent, message.session, message.newer_than)
                if frames is not None:
                    self._send_weights(service.hello.session, frames)
            case Goodbye():
                pass
            case _:
                raise MessageError(f"an actor may not send this: {type(message).__name__}")

    def _on_learner(self, service: Service, message: Message) -> None:
        session = service.hello.session
        agent = AgentName(service.hello.agent or "")
        match message:
            case Stored(agent=named) | Declined(agent=named) | LearnerReport(agent=named) if named != agent:
                raise MessageError(f"a learner of another agent: {named}")
            case Stored():
                self._dispatcher.acknowledged(agent, session, message.units, message.totals)
            case Declined():
                if self._dispatcher.declined(agent, session, Unit(message.unit)):
                    self._drop("batch declined", f"unit {message.unit} for {agent}: {message.reason}")
            case LearnerReport():
                self._on_learner_report(service, agent, message)
            case Goodbye():
                pass
            case _:
                raise MessageError(f"a learner may not send this: {type(message).__name__}")

    def _on_learner_report(self, service: Service, agent: AgentName, report: LearnerReport) -> None:
        """Note how far a learner has come, and send again what it, or the broker, has missed of the other."""
        session, ledger = service.hello.session, self._dispatcher.ledgers[agent]
        before, service.learner = service.learner, report
        self._dispatcher.trained(agent, session, report.trained_units)
        total = self._dispatcher.units_total
        if total is not None and report.trained_units >= total and not report.finished:
            self.send(session, self.totals())
        if before is not None and before.version == report.version > self._weights.version(agent, session):
            self.send(session, PublishAgain())
        if ledger.session == session and ledger.stored.count != report.totals.units:
            self.send(session, Unknown())  # an acknowledgement was lost: its hello tells all

    # Operators -----------------------------------------------------------------------------------

    def _on_command(self, command: Command) -> CommandReply:
        actors = {service.hello.name: service for service in self._registry.of_role(Role.ACTOR)}
        chosen = list(dict.fromkeys(command.names)) or list(actors)
        reached = [name for name in chosen if name in actors and self._order(actors[name], command.action)]
        log.info("command", extra={"action": command.action.value, "actors": ", ".join(reached)})
        return CommandReply(names=reached, unknown=[name for name in chosen if name not in reached])

    def _order(self, actor: Service, action: Action) -> bool:
        if action is not Action.RESET:
            actor.order = {Action.PAUSE: "paused", Action.DRAIN: "draining"}.get(action, "")
            self._leases.accept(actor.hello.name, accepting=action is Action.RESUME)
        return self.send(actor.hello.session, Order(action=action))


def _is(sender: KeyHolder, hello: Hello) -> bool:
    """Whether a service that says hello is who its key says."""
    agent = sender.name if sender.role is Role.LEARNER else None
    return (hello.role, hello.name, hello.agent) == (sender.role, sender.service, agent)


def _who(hello: Hello) -> tuple[Role, str, str | None]:
    return hello.role, hello.name, hello.agent


def _intervals_of(hello: Hello) -> IntervalSet:
    try:
        return IntervalSet((interval.first, interval.last) for interval in hello.stored)
    except ValueError as error:
        raise MessageError(f"hello: {error}") from error
