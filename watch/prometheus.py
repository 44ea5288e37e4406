"""The run as Prometheus metrics: names, units and helps by its conventions.

https://prometheus.io/docs/practices/naming: base units (seconds, bytes), shares as ratios from 0 to 1, `_total` on
what only rises. Counters come from watch/counters.py, so that no restart of a service sets one back; one of the
dashboard does, which Prometheus takes for the restart that it is. While the broker is away, `rookery_broker_up` is
0 and what it alone knows is left out. Metrics of an actor have the labels `actor` and `host`, an agent's `agent`.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from common.bottlenecks import BottleneckKind
from common.messages import AgentStatus, ServiceStatus, Status
from watch.broadcast import Broadcast
from watch.counters import Key
from watch.observer import Observer, Snapshot

FRESH_S = 10.0
"""A status this old still counts: one question that the broker missed leaves no gap."""
ACTOR, AGENT = ("actor", "host"), ("agent",)

Samples = Iterable[tuple[Sequence[str], float]]
"""Labels' values, and the value."""

ACTOR_COUNTERS = {
    "positions": ("positions", "Positions evaluated or looked up."),
    "engine_positions": ("engine_positions", "Positions that the engine evaluated."),
    "cached_games": ("cached_games", "Games whose evaluations came from the store."),
    "games": ("games", "Games worked on."),
    "rejected": ("rejected_games", "Games rejected."),
    "transitions": ("transitions", "Transitions made."),
    "units": ("units", "Units sent in whole."),
    "engine_restarts": ("engine_restarts", "Times that the engine was started anew."),
}
"""Counts of an actor, by name in watch/counters.py."""
AGENT_COUNTERS = {
    "produced": ("transitions_produced", "Transitions made for the agent, those in its store at first included."),
    "stored": ("transitions_stored", "Transitions in the agent's experience store."),
    "duplicates": ("transitions_duplicate", "Transitions that came a second time and were dropped."),
    "trained": ("transitions_trained", "Transitions trained on."),
    "units_stored": ("units_stored", "Units in the agent's experience store."),
    "units_trained": ("units_trained", "Units trained on."),
    "step": ("gradient_steps", "Gradient steps taken."),
    "games_read": ("games_read", "Games that the agent's units account for."),
    "games_used": ("games_used", "Games that the agent learns from."),
    "games_unselected": ("games_unselected", "Games that the agent's query leaves out."),
}
"""Counts of an agent, by name in watch/counters.py."""
CURVES = {
    "td_error": ("td_error", "Mean absolute TD error of the last interval, held out, in points of expected score."),
    "match_top1": ("move_match_ratio", "Share of the moves played that the prior ranks first, held out."),
    "match_top3": ("move_match_top3_ratio", "Share of the moves played that it ranks among the first three."),
    "q_loss": ("q_loss", "Loss of the action values in the last interval."),
    "value_loss": ("value_loss", "Loss of the state values in the last interval."),
    "prior_loss": ("prior_loss", "Loss of the prior in the last interval."),
    "gradient_norm": ("gradient_norm", "Norm of the gradient in the last interval."),
    "probe_lag_mean": (
        "probe_lag_versions",
        "Versions by which the weights behind probes were older, in the mean.",
    ),
    "validation_loss": ("validation_loss", "Loss on the games that are kept out of training."),
    "validation_match_top1": ("validation_move_match_ratio", "Move match on the games kept out of training."),
}
"""Figures of an agent's learning curve."""


class Metrics:
    """The metrics of one run, in a registry of their own."""

    def __init__(self, observer: Observer, broadcast: Broadcast) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(RunCollector(observer, broadcast))
        ProcessCollector(registry=self._registry)

    def text(self) -> tuple[bytes, str]:
        """Return the metrics and their content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class RunCollector(Collector):
    """Makes the metrics of what the observer knows, at each scrape."""

    def __init__(self, observer: Observer, broadcast: Broadcast) -> None:
        self._observer, self._broadcast = observer, broadcast

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        snapshot = self._observer.snapshot()
        age_s = self._observer.age_s(snapshot)
        fresh = age_s is not None and age_s < FRESH_S
        yield _gauge("broker_up", "Whether the broker answers.", [((), fresh)])
        if snapshot.status is not None and fresh:
            yield from _broker(snapshot.status, snapshot.pace.totals)
            yield from _actors(snapshot)
            yield from _agents(snapshot)
            yield from self._curves(snapshot.status)
        yield from self._logs(snapshot)
        yield from self._dashboard()

    def _curves(self, status: Status) -> Iterator[Metric]:
        names = {agent.name for agent in status.agents}
        for name, (metric, text) in CURVES.items():
            found = self._observer.newest(name)
            yield _gauge(f"agent_{metric}", text, [((a,), found[a]) for a in found if a in names], AGENT)

    def _logs(self, snapshot: Snapshot) -> Iterator[Metric]:
        told = {"records": "Log records that collectors wrote.", "missing": "Log records whose numbers never came."}
        for what, text in told.items():
            found = [((key[1],), value) for key, value in snapshot.pace.totals.items() if key[0] == f"log_{what}"]
            yield _counter(
                f"log_{'records' if what == 'records' else 'records_missing'}", text, found, ("collector",)
            )
        seen = dict(self._observer.records.by_severity)
        yield _counter(
            "log_severity_records", "Log records read, those of the last megabytes before the start included.",
            [((level,), count) for level, count in seen.items()], ("severity",),
        )  # fmt: skip

    def _dashboard(self) -> Iterator[Metric]:
        pages, held = self._broadcast.stats(), self._observer.stats()
        yield _gauge("dashboard_pages", "Pages that listen.", [((), pages.clients)])
        yield _gauge("dashboard_log_records", "Log records held in memory.", [((), held.records)])
        yield _counter("dashboard_sent_bytes", "Bytes of events sent to pages.", [((), pages.sent_bytes)])
        yield _counter("dashboard_dropped_events", "Events that slow pages were not sent.", [((), pages.dropped)])
        yield _counter("dashboard_damaged_lines", "Lines of log files that were no records.", [((), held.damaged)])


def _broker(status: Status, totals: Mapping[Key, float]) -> Iterator[Metric]:
    yield _gauge("broker_info", "Version of the broker, always 1.", [((status.software,), 1)], ("version",))
    yield _gauge("broker_uptime_seconds", "Time since the broker was started.", [((), status.uptime_s)])
    yield _gauge("broker_busy_ratio", "Share of the time in which its loop is busy.", [((), status.broker_share)])
    yield _gauge("broker_resident_memory_bytes", "Memory of the broker's process.", [((), status.memory_bytes)])
    dropped = [((key[2],), value) for key, value in totals.items() if key[0] == "dropped"]
    yield _counter("broker_dropped_messages", "Messages dropped, by reason.", dropped, ("reason",))
    yield _gauge("sources_read_ratio", "Share of the sources' bytes cut into units.", [((), status.fraction_read)])
    yield _counter("games_cut", "Games cut into units.", [((), totals["games_cut", "", ""])])
    known = {"games": status.games_total, "units": status.units_total}
    for what, total in known.items():
        found = [] if total is None else [((), total)]
        yield _gauge(f"source_{what}", f"All {what} of the sources, once they were read to their end.", found)
    yield _gauge("run_finished", "Whether every unit is trained on.", [((), status.finished)])
    yield _gauge(
        "bottleneck", "1 for what holds the run back, 0 for the rest.",
        [((kind.lower(),), kind == status.bottleneck_kind) for kind in BottleneckKind], ("kind",),
    )  # fmt: skip
    states = Tally((service.role.value, service.state) for service in status.services)
    yield _gauge("services", "Processes, by role and state.", states.items(), ("role", "state"))


def _actors(snapshot: Snapshot) -> Iterator[Metric]:
    status = snapshot.status
    assert status is not None
    actors = [service for service in status.services if service.actor is not None]
    hosts = {actor.name: actor.host for actor in actors}
    for name, (metric, text) in ACTOR_COUNTERS.items():
        found = [((a, hosts[a]), snapshot.pace.totals[f"actor_{name}", a, ""]) for a in hosts]
        yield _counter(f"actor_{metric}", text, found, ACTOR)
    gauges: Mapping[str, tuple[str, list[float]]] = {
        "up": ("Whether the broker hears from the actor.", [actor.state != "away" for actor in actors]),
        "leased_units": ("Units in hand.", [len(actor.units) for actor in actors]),
        "silence_seconds": ("Time since its last message.", [actor.seen_s for actor in actors]),
        "stall_seconds": ("Time since its last progress.", [actor.progress_s for actor in actors]),
    }
    for metric, (text, values) in gauges.items():
        yield _gauge(f"actor_{metric}", text, zip(hosts.items(), values, strict=True), ACTOR)
    yield from _reports(actors)
    yield from _weights(actors, {agent.name: agent.version for agent in status.agents})


def _reports(actors: Sequence[ServiceStatus]) -> Iterator[Metric]:
    own = {
        "engine_busy_ratio": ("engine_share", "Share of the time in which the engine has work."),
        "lease_wait_ratio": ("lease_wait_share", "Share of the time without any unit to work on."),
        "resident_memory_bytes": ("memory_bytes", "Memory of the actor's own process."),
        "engine_resident_memory_bytes": ("engine_memory_bytes", "Memory of its engine."),
    }
    for metric, (name, text) in own.items():
        found = [((actor.name, actor.host), getattr(actor.actor, name)) for actor in actors]
        yield _gauge(f"actor_{metric}", text, found, ACTOR)


def _weights(actors: Sequence[ServiceStatus], versions: Mapping[str, int]) -> Iterator[Metric]:
    labels = (*ACTOR, *AGENT)
    ages, lags = [], []
    for actor in actors:
        report = actor.actor
        assert report is not None
        ages += [((actor.name, actor.host, agent), age_s) for agent, age_s in report.weights_age_s.items()]
        lags += [
            ((actor.name, actor.host, agent), max(0, versions[agent] - version))
            for agent, version in report.weights.items()
            if agent in versions
        ]
    yield _gauge(
        "actor_weights_age_seconds", "Time since the agent's latest weights came to the actor.", ages, labels
    )
    yield _gauge("actor_weights_lag_versions", "Versions by which they are older than the learner's.", lags, labels)


def _agents(snapshot: Snapshot) -> Iterator[Metric]:
    status, totals = snapshot.status, snapshot.pace.totals
    assert status is not None
    for name, (metric, text) in AGENT_COUNTERS.items():
        found = [((key[1],), value) for key, value in totals.items() if key[0] == f"agent_{name}"]
        yield _counter(f"agent_{metric}", text, found, AGENT)
    rejected = [((key[1], key[2]), value) for key, value in totals.items() if key[0] == "agent_rejected"]
    yield _counter("agent_games_rejected", "Games rejected, by reason.", rejected, (*AGENT, "reason"))
    yield from _accounting(status.agents)
    loss = [((agent.name,), agent.loss) for agent in status.agents if agent.loss is not None]
    yield _gauge("agent_loss", "Mean loss of the learner's last interval.", loss, AGENT)
    yield from _learners([service for service in status.services if service.learner is not None])


def _accounting(agents: Sequence[AgentStatus]) -> Iterator[Metric]:
    gauges: Mapping[str, tuple[str, list[float]]] = {
        "learner_up": ("Whether the learner is connected.", [agent.learner == "connected" for agent in agents]),
        "leased_units": ("Units under lease that the agent misses.", [agent.leased for agent in agents]),
        "transitions_in_flight": (
            "Transitions with the broker or under way to the learner.", [agent.in_flight for agent in agents],
        ),
        "accounting_closed": ("Whether both identities hold.", [agent.closed for agent in agents]),
        "accounting_open_transitions": (
            "Transitions produced that are neither stored, duplicates nor in flight.",
            [agent.produced - agent.stored - agent.duplicates - agent.in_flight for agent in agents],
        ),
        "accounting_open_games": (
            "Games read that are neither used, unselected nor rejected.", [_open_games(agent) for agent in agents],
        ),
        "weights_version": ("Latest published version.", [agent.version for agent in agents]),
    }  # fmt: skip
    for metric, (text, values) in gauges.items():
        yield _gauge(f"agent_{metric}", text, zip([(a.name,) for a in agents], values, strict=True), AGENT)


def _open_games(agent: AgentStatus) -> int:
    totals = agent.totals
    return totals.games_read - totals.games_used - totals.games_unselected - sum(totals.rejected.values())


def _learners(learners: Sequence[ServiceStatus]) -> Iterator[Metric]:
    own = {
        "busy_ratio": ("train_share", "Share of the time spent in training; the rest was waiting for units."),
        "resident_memory_bytes": ("memory_bytes", "Memory of the learner's process."),
        "finished": ("finished", "Whether every unit is trained on and all is written."),
    }
    for metric, (name, text) in own.items():
        found = [((s.learner.agent,), getattr(s.learner, name)) for s in learners if s.learner is not None]
        yield _gauge(f"learner_{metric}", text, dict(found).items(), AGENT)


def _gauge(name: str, text: str, samples: Samples, labels: Sequence[str] = ()) -> Metric:
    family = GaugeMetricFamily(f"rookery_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, text: str, samples: Samples, labels: Sequence[str] = ()) -> Metric:
    family = CounterMetricFamily(f"rookery_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family
