"""Zombies: what was thought dead and comes back, and what is started twice.

An actor frozen past its lease; two learners for one agent, in one directory and in two, and under `rookery up`;
two brokers on one port; two `rookery up` on one directory. Whoever has to stop says why in one line and exits
with 2; whoever goes on is unharmed; the weights are those of an undisturbed run. On NATS, too, but for the two
brokers: there the second one stands by (tests/broker/test_nats_broker.py).
"""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import psutil

from common.errors import OperatorError
from common.links import Transport
from common.messages import Status
from common.nats.server import NatsServer, find_server
from common.nats.server_config import NatsServerSettings
from common.security import OWN_SERVER, ZMQ, reach_as_operator
from common.settings import to_toml
from learner.directory import AgentDirectory
from learner.lock import TAKEOVER_S
from learner.store import ExperienceReader
from tests.deploy.runs import Ended, Run, Started, ask, report_of, stopped, wait_for_status, wait_until
from tests.torture.outcome import Outcome, Setting
from tests.torture.undisturbed import Undisturbed, audit, games_for, settings_for, undisturbed

GAMES = 16
LEASE_TIMEOUT_S = 2.0
PATIENCE_S = 90.0


@dataclass(slots=True)
class Found:
    """What a scene came to, beside what the stores say."""

    faults: int = 0
    failures: list[str] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)
    memory_max_bytes: int = 0
    figures: dict[str, float | int | str] = field(default_factory=dict)

    def expect(self, true: bool, what: str) -> None:
        """Note a failure unless `true`."""
        if not true:
            self.failures.append(what)

    def expect_end(self, who: str, ended: Ended, code: int, last: str) -> None:
        """Note a failure unless a command ended with this code, and with this line as its last."""
        lines = ended.err.strip().splitlines()
        said = lines[-1] if lines else ""
        self.expect(
            (ended.code, said) == (code, last) and "Traceback" not in ended.err,
            f"{who} ended with {ended.code} and {said!r}, not with {code} and {last!r}",
        )

    def measure(self, started: Started) -> None:
        """Take note of the memory of what was started, engines left out."""
        for process in started.processes():
            try:
                if "stockfish" not in process.name():
                    self.memory_max_bytes = max(self.memory_max_bytes, process.memory_info().rss)
            except psutil.Error:
                pass


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a scene plays: its run directory, its settings, and what the run must come to."""

    folder: Path
    wanted: Undisturbed

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.folder / "run"

    @property
    def settings(self) -> Path:
        """The settings file, written anew."""
        path = self.folder / "settings.toml"
        path.write_text(to_toml(msgspec.structs.replace(self.wanted.settings, run=str(self.run))))
        return path

    @property
    def transport(self) -> Transport:
        """The way to the broker."""
        return reach_as_operator(self.wanted.settings)

    def up(self) -> Run:
        """Start `rookery up`."""
        return Run(
            self.run,
            *("--settings", str(self.settings), "--transport", self.wanted.settings.transport),
            games=self.wanted.games,
            base_port=self.wanted.settings.base_port,
        )

    def service(self, *words: str, run: Path | None = None) -> Started:
        """Start a service alone."""
        return Started([words[0], "--settings", str(self.settings), "--run", str(run or self.run), *words[1:]])

    def under_way(self, status: Status) -> bool:
        """Whether every agent is trained on some units and not on all."""
        return all(2 <= agent.units_trained < self.wanted.units for agent in status.agents)


def run(setting: Setting) -> list[Outcome]:
    """Play every scene, each with a run of its own."""
    games = games_for(GAMES)
    settings = settings_for(
        games, setting.folder / "run", limit_games=GAMES, games_per_unit=1, nodes=50,
        samples_per_transition=1.0, batch_size=16, publish_every=10, checkpoint_every=10,
        max_units_ahead=2, lease_timeout_s=LEASE_TIMEOUT_S, base_port=setting.base_port, device="cpu",
    )  # fmt: skip
    setting.say(f"{GAMES} games in one process, undisturbed")
    wanted = undisturbed(settings, games, GAMES)
    scenes: list[tuple[str, Callable[[Scene, Found], None]]] = [
        ("an actor frozen past its lease", frozen_actor),
        ("two learners", second_learners),
    ]
    if not setting.short:
        scenes.append(("a second `up`, a second broker", second_up_and_broker))
        scenes.append(("a learner started beside `up`", learner_beside_up))
        scenes.append(("a frozen learner", frozen_learner))
    outcomes = [_played(setting, name, scene, wanted, ZMQ) for name, scene in scenes]
    try:
        find_server()
    except OperatorError as error:
        setting.say(f"left out: on NATS: {error}")
        return outcomes
    on_nats = [(name, scene) for name, scene in scenes if scene is not second_up_and_broker]
    return outcomes + [_played(setting, f"{name}, on NATS", scene, wanted, OWN_SERVER) for name, scene in on_nats]


def _played(
    setting: Setting, name: str, play: Callable[[Scene, Found], None], wanted: Undisturbed, transport: str
) -> Outcome:
    setting.say(name)
    folder = setting.folder / f"{play.__name__}-{transport}"
    folder.mkdir()
    settings = msgspec.structs.replace(wanted.settings, transport=transport)
    return _outcome(name, Scene(folder, replace(wanted, settings=settings)), play)


def _outcome(name: str, scene: Scene, play: Callable[[Scene, Found], None]) -> Outcome:
    found = Found()
    try:
        play(scene, found)
        audited = audit(scene.run, scene.wanted)
    except Exception as error:
        found.failures.append(f"broke off: {type(error).__name__}: {error}")
        return Outcome(part=f"zombies: {name}", tries=1, unit="run", faults=found.faults, failures=found.failures)
    return Outcome(
        part=f"zombies: {name}",
        tries=1,
        unit="run",
        faults=found.faults,
        expected=audited.expected,
        stored=audited.stored,
        lost=audited.lost,
        doubled=audited.doubled,
        weights_identical=audited.weights_identical,
        memory_max_bytes=found.memory_max_bytes,
        recovery_s=found.recovery_s,
        failures=[*found.failures, *audited.failures],
        figures=found.figures,
    )


def frozen_actor(scene: Scene, found: Found) -> None:
    """An actor stands still with units in hand, is given up, and comes back with them."""
    with scene.up() as up:
        up.wait_for(lambda status: "actor-1" in {service.name for service in status.services}, "the actor")
        actor = up.service("actor", "actor-1")
        (engine,) = actor.children()
        with stopped(engine):  # so that it keeps what it has
            status = up.wait_for(lambda status: len(_units_of(status, "actor-1")) > 0, "units in hand")
            units = _units_of(status, "actor-1")
            with stopped(actor):
                found.faults += 1
                wait_until(lambda: _stored(scene, units), "the units from another actor", PATIENCE_S)
            continued_s = time.monotonic()
        up.wait_for(lambda status: all(agent.duplicates for agent in status.agents), "the batches that came late")
        found.recovery_s.append(time.monotonic() - continued_s)
        found.measure(up)
        found.expect_end("up", up.end(), 0, "")
    report = report_of(scene.run)
    found.expect(report.finished and report.closed, f"finished {report.finished}, closed {report.closed}")
    found.figures["transitions that came late"] = sum(agent.duplicates for agent in report.agents)


def second_up_and_broker(scene: Scene, found: Found) -> None:
    """`up` and a broker are started beside a run that is under way."""
    with scene.up() as up:
        with _half_way(scene, up):
            before = ask(scene.transport)
            with scene.up() as second:
                found.expect_end(
                    "the second up", second.end(), 2,
                    f"rookery: {scene.run}: another `rookery up` is at work there; wait for it or choose another "
                    "--run",
                )  # fmt: skip
            with scene.service("rookery-broker", "--supervised") as second:
                found.expect_end(
                    "the second broker", second.end(), 2,
                    f"rookery-broker: {scene.transport.address} is taken: is another broker running? "
                    "Choose another --base-port",
                )  # fmt: skip
            found.faults += 2
            after = ask(scene.transport)
            found.expect(
                before is not None and after is not None and before.broker == after.broker,
                "the first broker did not go on",
            )
        found.measure(up)
        found.expect_end("up", up.end(), 0, "")
    report = report_of(scene.run)
    found.expect(report.finished and report.closed, f"finished {report.finished}, closed {report.closed}")
    found.expect(report.restarts == 0, f"{report.restarts} services were started again")


def second_learners(scene: Scene, found: Found) -> None:
    """A learner is replaced by one with another directory, and that one by a third in the same directory."""
    other = scene.folder / "other"
    with _services(scene) as stack:
        black = stack.enter_context(scene.service("rookery-learner", "--agent", "black"))
        first = stack.enter_context(scene.service("rookery-learner", "--agent", "white", run=other))
        _wait(scene, scene.under_way, "some units trained")
        with stopped(black.service("black")):
            second = stack.enter_context(scene.service("rookery-learner", "--agent", "white"))
            ended = first.end()
            found.expect_end("the first learner", ended, 2, _told_by_broker(second))
            _wait(
                scene, lambda status: _pid_of(status, "learner-white") == second.process.pid, "the second learner"
            )
            begun_s = time.monotonic()
            _wait(scene, scene.under_way, "some units trained by the second learner")
            found.recovery_s.append(time.monotonic() - begun_s)
            third = stack.enter_context(scene.service("rookery-learner", "--agent", "white"))
            found.expect_end("the second learner", second.end(), 2, _told_in_directory(scene, third))
            begun_s = time.monotonic()
            _wait(scene, lambda status: _pid_of(status, "learner-white") == third.process.pid, "the third learner")
            found.recovery_s.append(time.monotonic() - begun_s)
            found.faults += 2
        _finish(scene, found, black, third)
    for directory in (other, scene.run):
        problem = _integrity(directory)
        found.expect(problem == "ok", f"{directory.name}: the store of white is damaged: {problem}")
    found.expect(_same_units(scene, other), "the replaced learner's store holds other units")


def learner_beside_up(scene: Scene, found: Found) -> None:
    """A learner is started by hand beside `up`, which ends; started again, `up` takes over from it."""
    with ExitStack() as stack:
        with scene.up() as up:
            with _half_way(scene, up):
                by_hand = stack.enter_context(scene.service("rookery-learner", "--agent", "white"))
                ended = up.end()
            line = _told_in_directory(scene, by_hand).replace("rookery-learner:", "rookery: learner-white:")
            found.expect_end("up", ended, 2, line)
            found.expect(not up.processes(), "up left processes behind")
        with scene.up() as again:
            again.wait_for(lambda status: _pid_of(status, "learner-white") is not None, "its own learner")
            own = again.service("learner", "white")
            ended = by_hand.end()
            found.expect(
                ended.code == 2 and ended.err.strip().endswith(_it_goes_on(own.pid)),
                f"the learner started by hand ended with {ended.code} and {ended.err.strip()[-300:]!r}",
            )
            found.measure(again)
            found.expect_end("up, started again", again.end(), 0, "")
        found.faults += 2
    found.expect(report_of(scene.run).finished, "not finished")
    problem = _integrity(scene.run)
    found.expect(problem == "ok", f"the store of white is damaged: {problem}")


def frozen_learner(scene: Scene, found: Found) -> None:
    """A learner that stands still can't let go: the newer says so, and the older goes on when it is continued."""
    with _services(scene) as stack:
        white, black = (
            stack.enter_context(scene.service("rookery-learner", "--agent", agent)) for agent in ("white", "black")
        )
        _wait(scene, scene.under_way, "some units trained")
        with stopped(white.service("white")):
            with scene.service("rookery-learner", "--agent", "white", "--supervised") as newer:
                ended = newer.end()
            found.faults += 1
        continued_s = time.monotonic()
        agent, pid = AgentDirectory.of(scene.run, "white").path, white.process.pid
        found.expect_end(
            "the newer learner", ended, 2,
            f"rookery-learner: {agent}: another learner (process {pid}) is at work here and has not let go within "
            f"{TAKEOVER_S:g} s; end it (kill {pid}, or kill -9 {pid} where it hangs), then start this one again",
        )  # fmt: skip
        trained = _trained(ask(scene.transport))
        _wait(scene, lambda status: status.finished or _trained(status) > trained, "more units trained")
        found.recovery_s.append(time.monotonic() - continued_s)
        _finish(scene, found, white, black)


@contextmanager
def _services(scene: Scene) -> Iterator[ExitStack]:
    """A broker and two actors, and the server that they need on NATS."""
    with ExitStack() as stack:
        if scene.wanted.settings.transport == OWN_SERVER:
            server = NatsServerSettings(directory=scene.folder / "nats", port=scene.wanted.settings.base_port)
            stack.enter_context(NatsServer(server))
        stack.enter_context(scene.service("rookery-broker"))
        for number in range(2):
            stack.enter_context(scene.service("rookery-actor", "--name", f"actor-{number}"))
        yield stack


@contextmanager
def _half_way(scene: Scene, up: Run) -> Iterator[None]:
    """Keep a run from getting on meanwhile: a learner stands still, and so the window fills."""
    up.wait_for(scene.under_way, "some units trained")
    with stopped(up.service("learner", "black")):
        yield


def _finish(scene: Scene, found: Found, *learners: Started) -> None:
    """Wait for the end of the training, and have the learners save."""

    def done(status: Status) -> bool:
        reports = [service.learner for service in status.services if service.learner is not None]
        return status.finished and len(reports) == len(learners) and all(report.finished for report in reports)

    status = _wait(scene, done, "the end of the training")
    for agent in status.agents:
        found.expect(agent.closed, f"{agent.name}: the broker's books are not closed: {agent}")
    for learner in learners:
        found.measure(learner)
        learner.process.send_signal(signal.SIGTERM)
        ended = learner.end()
        found.expect(
            ended.code == 0 and "Traceback" not in ended.err, f"a learner ended with {ended.code}: {ended.err}"
        )


def _wait(scene: Scene, condition: Callable[[Status], bool], what: str) -> Status:
    return wait_for_status(scene.transport, condition, what, timeout_s=PATIENCE_S)


def _units_of(status: Status, name: str) -> list[int]:
    return next((service.units for service in status.services if service.name == name), [])


def _pid_of(status: Status, name: str) -> int | None:
    return next((service.pid for service in status.services if service.name == name), None)


def _trained(status: Status | None) -> int:
    return sum(agent.units_trained for agent in status.agents) if status is not None else 0


def _stored(scene: Scene, units: list[int]) -> bool:
    for agent in scene.wanted.settings.agents:
        with ExperienceReader(AgentDirectory.of(scene.run, agent.name).experience, agent) as store:
            if any(store.get(unit) is None for unit in units):
                return False
    return True


def _same_units(scene: Scene, directory: Path) -> bool:
    """Whether the store of white in `directory` holds some of the units in that of the run, byte for byte."""
    agent = scene.wanted.settings.agent("white")
    stores = [AgentDirectory.of(path, agent.name).experience for path in (directory, scene.run)]
    with ExperienceReader(stores[0], agent) as some, ExperienceReader(stores[1], agent) as every:
        units = list(some.read_from(0))
        return bool(units) and all(every.get(unit) == body for unit, body in units)


def _integrity(directory: Path) -> str:
    connection = sqlite3.connect(AgentDirectory.of(directory, "white").experience)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


def _told_by_broker(newer: Started) -> str:
    return (
        f"rookery-learner: learner-white was started anew on {os.uname().nodename} (pid {newer.process.pid}); "
        "the newer one goes on"
    )


def _it_goes_on(pid: int) -> str:
    return f"another learner (process {pid}) was started for this agent; it goes on"


def _told_in_directory(scene: Scene, newer: Started) -> str:
    agent = AgentDirectory.of(scene.run, "white").path
    return f"rookery-learner: {agent}: {_it_goes_on(newer.process.pid)}"
