"""Runs on a cluster of three servers that are killed, hang, or have a slow disk, one after the other, under load.

The fleet is that of the kill matrix (tests/torture/kills.py); every stream has three replicas. A strike waits until
the one before is over and every server has everything again: of three servers one may fail, not two. Strikes at all
three at once show what becomes of a run whose whole cluster is gone for a while. The evaluations are there already,
so that the cluster is what a run waits for.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import SkipTest

import msgspec

from common.errors import OperatorError
from common.log_lines import LOG_FILE, TRACE_FILE, read_log_lines
from common.nats.names import ACTORS, NatsNames
from common.nats.server import NatsServer, find_server
from deploy.nats_cluster import NatsCluster
from tests.torture.kills import Scale, Torture, environment, settings_of
from tests.torture.nats_progress import StoredUnits
from tests.torture.nats_servers import Servers, freeze, kill, slow_down, slow_server, start, thaw
from tests.torture.outcome import Outcome, Setting
from tests.torture.slow_disk import can_be_slowed
from tests.torture.undisturbed import Undisturbed, audit, games_for, undisturbed

FULL = Scale(games=800, games_per_unit=2, faults=0, units_ahead=4, lease_timeout_s=3.0)
SHORT = Scale(games=120, games_per_unit=2, faults=0, units_ahead=4, lease_timeout_s=3.0)
LAST_AT = 0.8
"""Share of the units stored by which the last strike is due."""
LOOK_S = 0.5
"""Between two looks at whether every server has everything."""

Targets = Callable[[Servers], Sequence[NatsServer | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """What is done to servers for a while."""

    name: str
    targets: Targets
    begin: Callable[[NatsServer], object]
    end: Callable[[NatsServer], object]
    for_s: float
    interrupts: bool = True
    """Whether the run may stand still for its time, so that how long it takes to recover is a figure."""


@dataclass(slots=True)
class UnderWay:
    """A strike that has begun."""

    strike: Strike
    servers: Sequence[NatsServer]
    begun_s: float
    stored: int
    ended_s: float | None = None


@dataclass(slots=True)
class Strikes:
    """Carries strikes out, one after the other, spread over a run. `beat` it often."""

    plan: list[Strike]
    servers: Servers
    units: int
    """Units to be stored, over all agents."""
    under_way_max: int
    """Units that can be anywhere between the broker and the stores."""
    stored: StoredUnits
    say: Callable[[str], None]
    count: int = 0
    recovery_s: list[tuple[Strike, float]] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    """From each strike's end until every server had everything again."""
    paces: list[str] = field(default_factory=list)
    """Units stored a second meanwhile, of the strikes that do not interrupt."""
    under_way: UnderWay | None = None
    recovering: list[UnderWay] = field(default_factory=list)
    _total: int = 0
    _looked_s: float = 0.0

    def __post_init__(self) -> None:
        self._total = len(self.plan)

    def beat(self) -> None:
        """Begin what is due, end what has lasted, and note what has recovered."""
        self._recover()
        if self.under_way is None:
            self._begin()
        elif self.under_way.ended_s is None:
            self._end(self.under_way)
        elif self._is_whole():
            self.whole_s.append(time.monotonic() - self.under_way.ended_s)
            self.under_way = None

    def _begin(self) -> None:
        due = LAST_AT * (self.count + 0.5) / max(1, self._total) * self.units
        if not self.plan or self.stored.count < due or not self._is_whole():
            return
        strike = self.plan[0]
        found = strike.targets(self.servers)
        servers = [server for server in found if server is not None]
        if len(servers) < len(found):  # nobody leads it at this moment
            return
        del self.plan[0]
        self.count += 1
        names = ", ".join(server.settings.name for server in servers)
        self.say(f"{self.count}: {strike.name} ({names}) at {self.stored.count} of {self.units} units")
        self.under_way = UnderWay(strike, servers, time.monotonic(), self.stored.count)
        for server in servers:
            strike.begin(server)
        if strike.interrupts:
            self.recovering.append(self.under_way)

    def _end(self, one: UnderWay) -> None:
        now_s = time.monotonic()
        if now_s - one.begun_s < one.strike.for_s:
            return
        if not one.strike.interrupts:
            self.paces.append(f"{self.stored.each_s(one.begun_s, now_s):.1f}")
        for server in one.servers:
            one.strike.end(server)
        one.ended_s = time.monotonic()
        self.say(f"over after {one.ended_s - one.begun_s:.1f} s: {one.strike.name}")

    def _recover(self) -> None:
        for one in list(self.recovering):
            reached_s = self.stored.reached_s(min(one.stored + self.under_way_max + 1, self.units))
            if reached_s is not None:
                self.recovering.remove(one)
                self.recovery_s.append((one.strike, reached_s - one.begun_s))
                self.say(f"recovered after {reached_s - one.begun_s:.1f} s: {one.strike.name}")

    def _is_whole(self) -> bool:
        if time.monotonic() - self._looked_s < LOOK_S:
            return False
        whole = self.servers.whole
        self._looked_s = time.monotonic()
        return whole


class StruckRun(Torture):
    """A run whose servers are struck, and whose processes are left alone."""

    strikes: Strikes

    def __init__(self, setting: Setting, wanted: Undisturbed) -> None:
        super().__init__(setting, wanted, 0)
        self.was_open = False
        """Whether the accounting was open at some time."""

    def _beat(self) -> bool:
        said = self._watch.said
        if said is not None and not all(agent.closed for agent in said.agents):
            self.was_open = True
        self.strikes.beat()
        return super()._beat()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run."""

    name: str
    strikes: Sequence[Strike]
    slow: bool = False
    """Whether it takes servers whose disk can be slowed down."""


def run(setting: Setting) -> list[Outcome]:
    """Run every row."""
    try:
        find_server()
    except OperatorError as error:
        raise SkipTest(str(error)) from error
    scale = SHORT if setting.short else FULL
    games = games_for(scale.games)
    settings = settings_of(setting, scale, games)
    setting.say(f"{scale.games} games in one process, undisturbed")
    wanted = undisturbed(settings, games, scale.games)
    outcomes = []
    for number, row in enumerate(rows(setting)):
        if row.slow and not can_be_slowed():
            setting.say(f"left out: {row.name}: no disk can be slowed down on this machine")
            continue
        folder = setting.folder / f"row-{number}"
        folder.mkdir()
        setting.say(row.name)
        outcomes.append(_run(replace(setting, folder=folder), row, wanted))
    return outcomes


def rows(setting: Setting) -> list[Row]:
    """Return what is run."""
    chance = random.Random(setting.seed)
    names = NatsNames()
    killed = {"begin": kill, "end": start}
    frozen = {"begin": freeze, "end": thaw}
    leaders = [
        ("of the units", _leader(names.units_stream)),
        ("of the experience", _leader(names.experience_stream)),
        ("of the actors' consumer", _leader(names.units_stream, ACTORS)),
        ("of white's consumer", _leader(names.experience_stream, names.learner("white"))),
        ("of the weights", _leader(names.weights.stream)),
    ]
    in_turn = [(f"n{number + 1}", _server(number)) for number in range(3)]

    def strikes(verb: str, targets: Sequence[tuple[str, Targets]], **how: Callable[..., object]) -> list[Strike]:
        return [
            Strike(name=f"{verb} {name}", targets=which, for_s=chance.uniform(0.2, 6.0), **how)  # type: ignore[arg-type]
            for name, which in targets
        ]

    everyone: tuple[str, Targets] = ("all three", lambda servers: list(servers))
    if setting.short:
        return [
            Row(
                name="servers killed, one whose disk is slow", slow=can_be_slowed(),
                strikes=[
                    *strikes("SIGKILL of the leader", [leaders[1]], **killed),
                    *strikes("SIGKILL of", [everyone], **killed),
                    *([_slow("the leader of the experience", leaders[1][1], 50.0, 3.0)] if can_be_slowed() else []),
                ],
            )
        ]  # fmt: skip
    return [
        Row(
            name="each server killed in turn, and the leaders",
            strikes=[
                *strikes("SIGKILL of", in_turn, **killed),
                *strikes("SIGKILL of the leader", leaders, **killed),
                *strikes("SIGKILL of", [everyone], **killed),
            ],
        ),
        Row(
            name="each server hanging in turn, and the leaders",
            strikes=[
                *strikes("SIGSTOP of", in_turn, **frozen),
                *strikes("SIGSTOP of the leader", leaders, **frozen),
            ],
        ),
        Row(
            name="slow disks", slow=True,
            strikes=[
                _slow("n1", in_turn[0][1], 20.0, 10.0),
                _slow("the leader of the experience", leaders[1][1], 20.0, 10.0),
                _slow("the leader of the units", leaders[0][1], 200.0, 10.0),
                _slow("all three", everyone[1], 20.0, 10.0),
            ],
        ),
    ]  # fmt: skip


def _leader(stream: str, consumer: str = "") -> Targets:
    return lambda servers: [servers.leader_of(stream, consumer)]


def _server(number: int) -> Targets:
    return lambda servers: [list(servers)[number]]


def _slow(name: str, targets: Targets, delay_ms: float, for_s: float) -> Strike:
    return Strike(
        name=f"{delay_ms:.0f} ms a write: {name}", targets=targets, for_s=for_s, interrupts=False,
        begin=lambda server: slow_down(server, delay_ms), end=lambda server: slow_down(server, 0.0),
    )  # fmt: skip


def _run(setting: Setting, row: Row, undisturbed_: Undisturbed) -> Outcome:
    cluster = NatsCluster(setting.folder / "nats", setting.base_port)
    settings = msgspec.structs.replace(
        undisturbed_.settings, run=str(setting.folder / "run"), transport=cluster.address, replicas=3,
        evaluations=str(undisturbed_.settings.directory.with_name("undisturbed") / "evaluations.db"),
    )  # fmt: skip
    wanted = replace(undisturbed_, settings=settings)
    struck = StruckRun(setting, wanted)
    try:
        with ExitStack() as stack:
            if row.slow:
                path = f"{slow_server(setting.folder)}{os.pathsep}{os.environ['PATH']}"
                stack.enter_context(environment({"PATH": path}))
            stack.enter_context(cluster)
            servers = stack.enter_context(Servers(cluster.servers, NatsNames()))
            stored = stack.enter_context(StoredUnits(settings))
            struck.strikes = strikes = Strikes(
                plan=list(row.strikes), servers=servers, units=wanted.units * len(settings.agents),
                under_way_max=len(settings.agents) * settings.max_units_ahead, stored=stored, say=setting.say,
            )  # fmt: skip
            report = struck.run()
    finally:
        left = struck.left_behind()
    found = audit(settings.directory, wanted, report)
    failures = [*found.failures, *(f"left behind: {command}" for command in left)]
    if strikes.plan or strikes.recovering:
        failures.append(f"not struck {strikes.plan}, not recovered {strikes.recovering}")
    if struck.was_open:
        failures.append("the accounting was open at some time")
    failures += [f"log records of {source}: {what}" for source, what in _records(settings.directory).items()]
    if struck.restarts:
        failures.append(f"{struck.restarts} services died")
    return Outcome(
        part=f"nats: {row.name}", tries=1, unit="runs", faults=strikes.count,
        expected=found.expected, stored=found.stored, lost=found.lost, doubled=found.doubled,
        weights_identical=found.weights_identical, memory_max_bytes=struck.memory_max_bytes,
        recovery_s=[took_s for _, took_s in strikes.recovery_s], failures=failures,
        figures=_figures(strikes, stored, report.seconds),
    )  # fmt: skip


def _figures(strikes: Strikes, stored: StoredUnits, seconds: float) -> dict[str, float | int | str]:
    figures: dict[str, float | int | str] = {"run, s": round(seconds, 1)}
    figures["longest time without a unit, s"] = round(stored.longest_pause_s, 1)
    if strikes.paces:
        figures["units/s while slow"] = ", ".join(strikes.paces)
    if strikes.whole_s:
        figures["until all replicas are current, s, worst"] = round(max(strikes.whole_s), 1)
    return figures


def _records(run: Path) -> dict[str, str]:
    """Return by source what is wrong with its log records, which are numbered."""
    numbers: dict[str, list[int]] = {}
    for name in (LOG_FILE, TRACE_FILE):
        for line in read_log_lines(run / "logs" / name):
            numbers.setdefault(line.source, []).append(line.number or 0)
    return {
        source: f"{max(found) + 1 - len(set(found))} missing, {len(found) - len(set(found))} doubled"
        for source, found in numbers.items()
        if sorted(found) != list(range(max(found) + 1))
    }
