"""Naming what holds a run back, from the services' own figures."""

from broker.dispatcher import Dispatcher
from broker.registry import Registry
from common.messages import Role


def bottleneck(dispatcher: Dispatcher, registry: Registry, broker_share: float) -> str:
    """Return the bottleneck's name and, after a colon, the reason."""
    if dispatcher.finished:
        return "none: every unit is trained"
    silent = [ledger.agent for ledger in dispatcher.ledgers.values() if not ledger.known]
    if silent:
        return f"waiting: no learner has said hello for {', '.join(silent)}"
    present = {service.hello.session for service in filter(registry.present, registry.of_role(Role.LEARNER))}
    away = [ledger.agent for ledger in dispatcher.ledgers.values() if ledger.session not in present]
    if away:
        return f"learner-bound: the learner of {', '.join(away)} is away"
    if dispatcher.throttled:
        slowest = min(dispatcher.ledgers.values(), key=lambda ledger: ledger.trained_units)
        return f"learner-bound: {slowest.agent} has trained {slowest.trained_units} units, the window is full"
    at_work = filter(registry.present, registry.of_role(Role.ACTOR))
    actors = [service.actor for service in at_work if service.actor is not None]
    if not actors:
        return "waiting: no actor is at work"
    if broker_share > 0.8:
        return f"broker-bound: its loop is busy {broker_share:.0%} of the time"
    if dispatcher.next_unit() is None and not any(actor.leases for actor in dispatcher.actors.values()):
        return "learner-bound: every unit is stored, training goes on"
    engine = sum(actor.engine_share for actor in actors) / len(actors)
    waiting = sum(actor.lease_wait_share for actor in actors) / len(actors)
    if waiting > 0.5:
        return f"broker-bound: actors wait for units {waiting:.0%} of the time"
    if engine > 0.5:
        return f"Stockfish-bound: engines are busy {engine:.0%} of the time"
    return f"actor-bound: replaying games; engines are busy {engine:.0%} of the time"
