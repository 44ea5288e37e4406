"""Who is there: every process that has said hello, when it last spoke and when it last got on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from common.messages import ActorReport, CollectorReport, Hello, LearnerReport, Role, ServiceStatus

AWAY_AFTER_S = 10.0
FORGOTTEN_AFTER_S = 3600.0
STRANGER_FORGOTTEN_AFTER_S = 60.0
"""The same for one that has never said more than hello: nobody misses it."""
MAX_REPLACED = 1000
"""Sessions remembered as replaced by a newer one."""


@dataclass(slots=True)
class Service:
    """One process. Liveness is progress: `progress_s` moves only when work was done."""

    hello: Hello
    seen_s: float
    progress_s: float
    order: str = ""
    """An operator's standing order: paused or draining."""
    actor: ActorReport | None = None
    learner: LearnerReport | None = None
    collector: CollectorReport | None = None
    units: list[int] = field(default_factory=list)

    @property
    def patience_s(self) -> float:
        """How long it may be silent before it is forgotten."""
        reported = self.actor or self.learner or self.collector or self.order
        return FORGOTTEN_AFTER_S if reported else STRANGER_FORGOTTEN_AFTER_S

    @property
    def progress(self) -> int:
        """A counter that grows when the service gets on."""
        if self.actor is not None:
            return self.actor.positions
        if self.learner is not None:
            return self.learner.totals.transitions + self.learner.transitions_trained
        return self.collector.records if self.collector is not None else 0


class Registry:
    """Services by name and by session; the newest session of a name wins."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.by_name: dict[str, Service] = {}
        self._by_session: dict[str, Service] = {}
        self.replaced: dict[str, str] = {}
        """Sessions that newer ones have replaced, each with the reason to be told whenever it speaks again."""

    def join(self, hello: Hello) -> Service:
        """Take a service in, or its word again; one of the same name and another session has left before."""
        now_s = self._clock()
        known = self.by_name.get(hello.name)
        if known is not None:
            known.hello, known.seen_s = hello, now_s
            return known
        service = Service(hello=hello, seen_s=now_s, progress_s=now_s)
        self.by_name[hello.name] = self._by_session[hello.session] = service
        return service

    def note_replaced(self, session: str, reason: str) -> None:
        """Remember that a session was replaced, and the reason that it is to be told."""
        self.replaced[session] = reason
        while len(self.replaced) > MAX_REPLACED:
            del self.replaced[next(iter(self.replaced))]

    def present(self, service: Service) -> bool:
        """Whether a service has spoken lately."""
        return self._clock() - service.seen_s <= AWAY_AFTER_S

    def long_gone(self) -> list[Service]:
        """Return the services that have not spoken for so long that they are to be forgotten."""
        now_s = self._clock()
        return [service for service in self.by_name.values() if now_s - service.seen_s > service.patience_s]

    def of_session(self, session: str) -> Service | None:
        """Return the service of a session."""
        return self._by_session.get(session)

    def heard(self, session: str) -> Service | None:
        """Return the service of a session, noting that it spoke; None for a stranger."""
        service = self._by_session.get(session)
        if service is not None:
            service.seen_s = self._clock()
        return service

    def progressed(self, service: Service, before: int) -> None:
        """Note progress if the service's counter has moved from `before`."""
        if service.progress != before:
            service.progress_s = self._clock()

    def leave(self, service: Service) -> None:
        """Forget a service."""
        self._by_session.pop(service.hello.session, None)
        if self.by_name.get(service.hello.name) is service:
            del self.by_name[service.hello.name]

    def of_role(self, role: Role) -> list[Service]:
        """Return the services of a role."""
        return [service for service in self.by_name.values() if service.hello.role is role]

    def status(self) -> list[ServiceStatus]:
        """Return a snapshot of all services, by role and name."""
        now_s = self._clock()
        services = sorted(self.by_name.values(), key=lambda s: (s.hello.role, s.hello.name))
        return [
            ServiceStatus(
                name=service.hello.name,
                role=service.hello.role,
                host=service.hello.host,
                pid=service.hello.pid,
                state=self._state(service),
                seen_s=now_s - service.seen_s,
                progress_s=now_s - service.progress_s,
                units=service.units,
                actor=service.actor,
                learner=service.learner,
                collector=service.collector,
            )
            for service in services
        ]

    def _state(self, service: Service) -> str:
        if not self.present(service):
            return "away"
        if service.order:
            return service.order
        if service.hello.role is Role.COLLECTOR:
            return "collecting"
        if service.learner is not None and service.learner.finished:
            return "finished"
        idle = service.hello.role is Role.ACTOR and not service.units
        return "waiting" if idle else "working"
