"""Naming what holds a run back, from the services' own figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.dispatcher import Dispatcher
from broker.ledger import Ledger
from broker.registry import Registry, Service
from common.bottlenecks import BottleneckKind as Kind
from common.messages import Role
from common.words import AgentName, Unit

LATE_S = 5.0
"""What has been leased for so long, and is not in its actor's hands, is stuck on its way there or back."""
MOST_NAMES = 5
"""Services that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What holds a run back."""

    kind: Kind
    reason: str
    agents: Sequence[AgentName] = ()
    """Those whose learners hold it back, or are waited for."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def bottleneck(dispatcher: Dispatcher, registry: Registry, broker_share: float) -> Bottleneck:
    """Return what holds the run back now."""
    if dispatcher.finished:
        learners = [service.learner for service in filter(registry.present, registry.of_role(Role.LEARNER))]
        last = [AgentName(learner.agent) for learner in learners if learner is not None and not learner.finished]
        if last:
            return Bottleneck(Kind.LEARNER, "every unit is trained on, the last gradient steps go on", last)
        return Bottleneck(Kind.NONE, "every unit is trained")
    silent = [ledger.agent for ledger in dispatcher.ledgers.values() if not ledger.known]
    if silent:
        return Bottleneck(Kind.WAITING, f"no learner has said hello for {', '.join(silent)}", silent)
    present = {service.hello.session for service in filter(registry.present, registry.of_role(Role.LEARNER))}
    away = [ledger.agent for ledger in dispatcher.ledgers.values() if ledger.session not in present]
    if away:
        return Bottleneck(Kind.LEARNER, f"the learner of {', '.join(away)} is away", away)
    slowest = min(dispatcher.ledgers.values(), key=lambda ledger: ledger.trained_units)
    if dispatcher.throttled and slowest.has(Unit(slowest.trained_units)):
        trained = f"{slowest.agent} has trained {slowest.trained_units} units"
        return Bottleneck(Kind.LEARNER, f"{trained}, the window is full", [slowest.agent])
    at_work, gone = _actors(registry)
    actors = [service.actor for service in at_work if service.actor is not None]
    if not actors:
        named = f"; away: {_names(gone)}" if gone else ""
        return Bottleneck(Kind.WAITING, f"no actor is at work{named}")
    awaited = _awaited(dispatcher, registry, slowest)
    if awaited is not None:
        return awaited
    if broker_share > 0.8:
        return Bottleneck(Kind.BROKER, f"its loop is busy {broker_share:.0%} of the time")
    if dispatcher.next_unit() is None and not any(actor.leases for actor in dispatcher.actors.values()):
        return Bottleneck(Kind.LEARNER, "every unit is stored, training goes on", list(dispatcher.ledgers))
    engine = sum(actor.engine_share for actor in actors) / len(actors)
    waiting = sum(actor.lease_wait_share for actor in actors) / len(actors)
    if waiting > 0.5:
        return Bottleneck(Kind.BROKER, f"actors wait for units {waiting:.0%} of the time")
    if engine > 0.5:
        return Bottleneck(Kind.STOCKFISH, f"engines are busy {engine:.0%} of the time")
    return Bottleneck(Kind.ACTOR, f"replaying games; engines are busy {engine:.0%} of the time")


def _actors(registry: Registry) -> tuple[list[Service], list[Service]]:
    """Return the actors that are there, and those that are away."""
    actors = registry.of_role(Role.ACTOR)
    there = [actor for actor in actors if registry.present(actor)]
    return there, [actor for actor in actors if not registry.present(actor)]


def _awaited(dispatcher: Dispatcher, registry: Registry, slowest: Ledger) -> Bottleneck | None:
    """Say where the unit is that the slowest learner is to train next, if that is the trouble."""
    unit = Unit(slowest.trained_units)
    holder = dispatcher.holder(slowest.agent, unit)
    if holder is None or holder[1] < LATE_S:
        return None
    name, age_s = holder
    actor = registry.by_name[name]
    waits = f"{slowest.agent} waits for unit {unit}, leased to {name} {age_s:.0f} s ago"
    if not registry.present(actor):
        return Bottleneck(Kind.WAITING, f"{waits}, which is away")
    if unit not in actor.units:
        return Bottleneck(Kind.NETWORK, f"{waits} and stuck on the way there or back")
    return Bottleneck(Kind.ACTOR, f"{waits}, and the window is full") if dispatcher.throttled else None


def _names(services: Sequence[Service]) -> str:
    names = sorted(service.hello.name for service in services)
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
