"""A status as tables for a terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.messages import AgentStatus, ServiceStatus, Status

STUCK_S = 30.0
"""An actor that has units in hand and made no progress for so long is shown as stuck."""


def render(status: Status) -> RenderableType:
    """Return the status as text and tables."""
    total = "?" if status.units_total is None else str(status.units_total)
    head = Text.assemble(
        ("bottleneck  ", "bold"), status.bottleneck, "\n",
        ("games       ", "bold"), f"{status.games_cut} cut into units, {status.fraction_read:.0%} of all bytes\n",
        ("broker      ", "bold"), f"up {status.uptime_s:.0f} s, loop busy {status.broker_share:.0%}, "
        f"{status.memory_bytes / 2**20:.0f} MiB",
    )  # fmt: skip
    if status.dropped:
        dropped = ", ".join(f"{reason} {count}" for reason, count in status.dropped.items())
        head.append(f"\ndropped     {dropped}", "yellow")
    return Group(head, _agents(status.agents, total), _accounting(status.agents), _services(status.services))


def _agents(agents: list[AgentStatus], total: str) -> Table:
    table = _table("Units", "agent", "learner", "leased", "stored", "trained", "step", "version", "loss")
    for agent in agents:
        loss = "-" if agent.loss is None else f"{agent.loss:.4f}"
        table.add_row(
            agent.name, agent.learner, str(agent.leased), f"{agent.units_stored}/{total}",
            f"{agent.units_trained}/{total}", str(agent.step), str(agent.version), loss,
        )  # fmt: skip
    return table


def _accounting(agents: list[AgentStatus]) -> Table:
    games = "games read = used + unselected + rejected"
    transitions = "transitions produced = stored + duplicates + in flight"
    table = _table("Accounting", "agent", games, transitions, "closed")
    for agent in agents:
        totals = agent.totals
        rejected = sum(totals.rejected.values())
        table.add_row(
            agent.name,
            f"{totals.games_read} = {totals.games_used} + {totals.games_unselected} + {rejected}",
            f"{agent.produced} = {agent.stored} + {agent.duplicates} + {agent.in_flight}",
            "yes" if agent.closed else "NO",
        )
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)


def _services(services: list[ServiceStatus]) -> Table:
    table = _table("Services", "service", "host", "state", "seen", "progress", "details")
    for service in services:
        table.add_row(
            service.name, Text(service.host), _state(service), f"{service.seen_s:.0f} s ago",
            f"{service.progress_s:.0f} s ago", _details(service),
        )  # fmt: skip
    return table


def _state(service: ServiceStatus) -> Text:
    if service.state == "away":
        return Text("away", "red")
    if service.actor is not None and service.units and service.progress_s > STUCK_S:
        return Text(f"{service.state}, stuck", "yellow")
    return Text(service.state)


def _details(service: ServiceStatus) -> str:
    if service.actor is not None:
        actor = service.actor
        return (
            f"{len(service.units)} units, {actor.positions} positions, engine {actor.engine_share:.0%}, "
            f"{(actor.memory_bytes + actor.engine_memory_bytes) / 2**20:.0f} MiB"
        )
    if service.learner is not None:
        learner = service.learner
        return (
            f"{learner.samples_per_second:.0f} samples/s, training {learner.train_share:.0%}, "
            f"{learner.memory_bytes / 2**20:.0f} MiB"
        )
    if service.collector is not None:
        return f"{service.collector.records} records, {service.collector.missing} missing"
    return ""
