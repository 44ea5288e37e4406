"""Malformed input: a million frames that are no messages, hostile games and a lying engine.

None stops a service, grows its memory past the limit or gets into a store; each is counted under a reason.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from actor.engine import Engine
from common.errors import BrokerUnreachable, SettingsError
from common.keys import KeyHolder
from common.links import OperatorLink
from common.messages import Role, Status
from common.security import reach_as_operator
from common.settings import Settings, to_toml
from common.zmq.keys import KeyDirectory
from common.zmq.ports import Ports
from deploy.report import read_report
from tests.actor.engine_games import game_of
from tests.actor.fake_engine import fake_engine
from tests.actor.hostile_engines import LIES
from tests.deploy.runs import Run
from tests.torture import decoders, hostile_games
from tests.torture.flood import Fate, RawPeer
from tests.torture.hostile_broker import torment
from tests.torture.outcome import Outcome, Setting
from tests.torture.undisturbed import Undisturbed, audit, games_for, settings_for, undisturbed

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT_BYTES = 1024 * 1024 * 1024
"""What no process may come to in memory; a learner has some 400 MB of libraries."""
MAX_REASONS = 101


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much of it."""

    decoder_frames: int
    decoder_processes: int
    flood_messages: int
    """For each of the two floods."""
    lies: int
    """Messages of a hostile broker to an actor and a learner."""
    hostile_games: int
    bomb_bytes: int
    """What each of the packed sources unpacks to."""
    games: int
    """Of the runs that are flooded."""
    hold_at: float
    """Share of the units trained at which a run is kept from ending before the flood does."""
    patience_s: float = 900.0


FULL = Scale(
    decoder_frames=1_000_000, decoder_processes=2, flood_messages=50_000, lies=10_000, hostile_games=5_000,
    bomb_bytes=128 << 20, games=200, hold_at=0.5,
)  # fmt: skip
SHORT = Scale(
    decoder_frames=12_000, decoder_processes=1, flood_messages=3_000, lies=1_000, hostile_games=200,
    bomb_bytes=2 << 20, games=16, hold_at=0.0,
)  # fmt: skip


def run(setting: Setting) -> list[Outcome]:
    """Feed the decoders, flood a broker, lie to its peers, read hostile games, and run engines that lie."""
    scale = SHORT if setting.short else FULL
    outcomes = [feed_decoders(setting, scale)]
    games = games_for(scale.games)
    settings = settings_of(setting, scale, games)
    setting.say(f"{scale.games} games in one process, undisturbed")
    wanted = undisturbed(settings, games, scale.games)
    for authenticated in (False, True):
        outcomes.append(flood_broker(setting, scale, wanted, authenticated))
    return [*outcomes, lie_to_services(setting, scale), feed_games(setting, scale), run_engines(setting)]


# Decoders ------------------------------------------------------------------------------------------------


def feed_decoders(setting: Setting, scale: Scale) -> Outcome:
    """Feed every decoder in processes of their own."""
    each = scale.decoder_frames // scale.decoder_processes
    setting.say(f"{scale.decoder_frames} frames to the decoders")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.torture.decoders", str(each), str(setting.seed + number)],
            cwd=ROOT, stdout=subprocess.PIPE,
        )
        for number in range(scale.decoder_processes)
    ]  # fmt: skip
    failures: list[str] = []
    found: list[decoders.Found] = []
    for process in started:
        out, _ = process.communicate()
        if process.returncode == 0:
            found.append(msgspec.json.decode(out, type=decoders.Found))
        else:
            failures.append(f"the decoders' process ended with {process.returncode}")
    failures += [line for one in found for line in one.escaped]
    slowest = max(found, key=lambda one: one.slowest_s)
    if slowest.slowest_s > decoders.SLOW_S:
        failures.append(f"{slowest.slowest} took {slowest.slowest_s:.1f} s over one frame")
    memory = max(one.memory_max_bytes for one in found)
    reasons = sum((Counter(one.reasons) for one in found), Counter[str]())
    frames = sum(sum(one.frames.values()) for one in found)
    accepted = sum(one.accepted for one in found)
    if accepted + reasons.total() + sum(len(one.escaped) for one in found) != frames:
        failures.append(f"{frames} frames, but {accepted} accepted and {reasons.total()} refused")
    return Outcome(
        part="frames: decoders",
        tries=frames,
        unit="frames",
        faults=reasons.total(),
        memory_max_bytes=memory,
        failures=[*failures, *_too_large({"decoders": memory})],
        figures={
            "decoders": len(found[0].frames),
            "accepted": accepted,
            "reasons": len(reasons),
            "slowest call, s": round(slowest.slowest_s, 3),
        },
    )


def _too_large(memory: Mapping[str, int]) -> list[str]:
    return [f"{name} came to {size / 2**20:.0f} MiB" for name, size in memory.items() if size > LIMIT_BYTES]


# A flood ------------------------------------------------------------------------------------------------


def flood_broker(setting: Setting, scale: Scale, wanted: Undisturbed, authenticated: bool) -> Outcome:
    """Flood the broker of a real run, which must come to what it would have come to."""
    name = "an actor's key" if authenticated else "in the clear"
    folder = setting.folder / ("keys" if authenticated else "clear")
    folder.mkdir()
    settings = msgspec.structs.replace(
        wanted.settings, run=str(folder / "run"), keys=str(folder / "keys") if authenticated else None
    )
    if authenticated:
        KeyDirectory(folder / "keys").init()
        KeyDirectory(folder / "keys").add(KeyHolder(Role.ACTOR, "hostile"))
    file = folder / "settings.toml"
    file.write_text(to_toml(settings))
    with Run(settings.directory, "--settings", str(file), games=wanted.games) as started:
        flooded = Flood(setting, scale, settings, started)
        flooded.run()
        ended = started.end(timeout_s=scale.patience_s)
        left = [" ".join(process.cmdline()) for process in started.processes()]
    found = audit(settings.directory, wanted, read_report(settings.directory / "report.json"))
    failures = [*flooded.failures, *found.failures, *(f"left behind: {command}" for command in left)]
    if ended.code != 0 or ended.err:
        failures.append(f"the run ended with {ended.code}: {ended.err[-300:]}")
    report = read_report(settings.directory / "report.json")
    if report is not None and report.restarts:
        failures.append(f"{report.restarts} services were started again")
    return Outcome(
        part=f"frames: flood, {name}",
        tries=sum(flooded.sent.values()),
        unit="messages",
        faults=flooded.sent[Fate.DROPPED] + flooded.sent[Fate.EITHER],
        expected=found.expected,
        stored=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        weights_identical=found.weights_identical,
        memory_max_bytes=max(flooded.memory.values()),
        failures=[*failures, *_too_large(flooded.memory)],
        figures=flooded.figures,
    )


class Flood:
    """Floods a broker while its run goes on, and compares what it counts with what was sent."""

    def __init__(self, setting: Setting, scale: Scale, settings: Settings, started: Run) -> None:
        self._setting, self._scale, self._settings, self._started = setting, scale, settings, started
        self._held: psutil.Process | None = None
        self.failures: list[str] = []
        self.memory: Counter[str] = Counter()
        """Greatest resident memory seen of each service."""
        self.sent: Counter[Fate] = Counter()
        self.figures: dict[str, Any] = {}

    def run(self) -> None:
        """Flood until all is sent and counted; the run is kept from ending before."""
        name = "hostile" if self._settings.keys is not None else "actor-0"
        agents = tuple(agent.name for agent in self._settings.agents)
        # The operator's key is made by the start of the run.
        link = self._until_there()
        holder = KeyHolder(Role.ACTOR, "hostile")
        keys = KeyDirectory(Path(self._settings.keys)).peer(holder) if self._settings.keys else None
        ports = Ports(self._settings.broker, self._settings.base_port, keys)
        begun_s = time.monotonic()
        before = link.status(10.0)
        try:
            with RawPeer(ports, random.Random(self._setting.seed), name, agents) as peer:
                while sum(peer.sent.values()) < self._scale.flood_messages:
                    self._look(link.status(30.0))
                    peer.flood(500)
                self.sent = peer.sent
                channels = dict(peer.by_channel)
            took_s = time.monotonic() - begun_s
            counted = self._counted(link, before)
        finally:
            if self._held is not None:
                self._held.resume()
            link.close()
        self.figures = {
            "dropped, as sent": self.sent[Fate.DROPPED],
            "dropped, as counted": counted,
            "answered or passed on": self.sent[Fate.ANSWERED],
            "channels": len(channels),
            "messages/s": round(sum(self.sent.values()) / took_s),
            **self.figures,
        }

    def _until_there(self) -> OperatorLink:
        end_s = time.monotonic() + 90.0
        while True:
            try:
                link = reach_as_operator(self._settings).operator()
                status = link.status(1.0)
                if sum(service.role is Role.LEARNER for service in status.services) == len(self._settings.agents):
                    return link
            except (BrokerUnreachable, SettingsError):  # not up yet, or its keys not made yet
                if time.monotonic() > end_s:
                    raise
            time.sleep(0.1)

    def _look(self, status: Status) -> None:
        """Note memory; hold a learner when the run is about to end before the flood does."""
        for process in self._started.processes():
            try:
                words = process.cmdline()
                service = next((Path(word).name for word in words if "rookery" in word), words[0])
                self.memory[service] = max(self.memory[service], process.memory_info().rss)
            except (psutil.Error, IndexError):
                pass
        total = status.units_total or 2**53
        least = min(agent.units_trained for agent in status.agents)
        if self._held is None and least >= self._scale.hold_at * total:
            self._held = self._started.service("learner", self._settings.agents[-1].name)
            self._held.suspend()

    def _counted(self, link: OperatorLink, before: Status) -> int:
        """Return how many messages the broker has dropped, once it has taken all of them in."""
        least = self.sent[Fate.DROPPED]
        most = least + self.sent[Fate.EITHER]
        end_s = time.monotonic() + 60.0
        while True:
            dropped = Counter(link.status(30.0).dropped) - Counter(before.dropped)
            counted = sum(count for reason, count in dropped.items() if not reason.startswith("subscription"))
            if counted >= least or time.monotonic() > end_s:
                break
            time.sleep(0.2)
        if not least <= counted <= most:
            self.failures.append(f"{counted} messages counted as dropped, {least} to {most} sent: {dict(dropped)}")
        if len(dropped) > MAX_REASONS:
            self.failures.append(f"{len(dropped)} reasons")
        self.figures["reasons"] = len(dropped)
        self._setting.say(f"dropped: {dict(sorted(dropped.items()))}")
        return counted


def settings_of(setting: Setting, scale: Scale, games: tuple[Path, ...]) -> Settings:
    """Return the settings of the runs: much happens, and none takes long."""
    return settings_for(
        games, setting.folder / "run", limit_games=scale.games, games_per_unit=4, nodes=20,
        samples_per_transition=1.0, batch_size=64, publish_every=10, checkpoint_every=20,
        max_units_ahead=8, lease_timeout_s=5.0, actors=2, base_port=setting.base_port, device="cpu", log_files=True,
    )  # fmt: skip


# Lies ---------------------------------------------------------------------------------------------------


def lie_to_services(setting: Setting, scale: Scale) -> Outcome:
    """Give a real actor and a real learner a broker that lies."""
    setting.say(f"{scale.lies} messages of a hostile broker")
    folder = setting.folder / "lies"
    folder.mkdir()
    settings = settings_for(
        ["games.pgn"], folder / "run", nodes=20, base_port=setting.base_port, device="cpu", network="table",
        log_level="error",
    )  # fmt: skip
    found = torment(settings, folder, scale.lies, setting.seed)
    return Outcome(
        part="frames: a hostile broker",
        tries=found.sent,
        unit="messages",
        faults=found.sent,
        expected=1,
        stored=found.stored,
        lost=1 - found.stored,
        doubled=0,
        memory_max_bytes=max(found.memory.values(), default=0),
        failures=[*found.failures, *_too_large(found.memory)],
    )


def feed_games(setting: Setting, scale: Scale) -> Outcome:
    """Have hostile PGN read, in a process of its own."""
    setting.say(f"{scale.hostile_games} hostile games")
    command = [sys.executable, "-m", "tests.torture.hostile_games"]
    numbers = map(str, (scale.hostile_games, scale.bomb_bytes, setting.seed))
    process = subprocess.run([*command, *numbers], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    part = "frames: hostile PGN"
    if process.returncode != 0:
        ended = f"its process ended with {process.returncode}"
        return Outcome(part=part, tries=scale.hostile_games, unit="games", faults=0, failures=[ended])
    found = msgspec.json.decode(process.stdout, type=hostile_games.Found)
    return Outcome(
        part=part,
        tries=found.games,
        unit="games",
        faults=sum(found.rejected.values()),
        memory_max_bytes=found.memory_max_bytes,
        failures=[*found.failures, *_too_large({"the readers": found.memory_max_bytes})],
        figures={
            "usable all the same": found.used,
            "reasons": len(found.rejected),
            "bombs, MiB unpacked": found.bomb_bytes >> 20,
            "slowest 16 games, s": round(found.slowest_s, 2),
        },
    )


def run_engines(setting: Setting) -> Outcome:
    """Have each lying engine score a game: it costs that game, with a reason, and the engine is started again."""
    setting.say(f"{len(LIES)} lying engines")
    failures = []
    restarts = 0
    for number, (lie, (body, reason)) in enumerate(LIES.items()):
        folder = setting.folder / f"engine-{number}"
        folder.mkdir()
        with Engine(fake_engine(folder, body), nodes=10, patience_s=0.5, back_off_s=0.01) as engine:
            engine.submit(game_of(["e2e4"]))
            done = engine.poll(60.0)
            restarts += engine.stats().restarts
        if not done or done[0].scores is not None or reason not in (done[0].failure or ""):
            failures.append(f"{lie}: {done}")
    return Outcome(
        part="frames: a lying engine",
        tries=len(LIES),
        unit="engines",
        faults=len(LIES),
        memory_max_bytes=psutil.Process().memory_info().rss,
        failures=failures,
        figures={"started again": restarts},
    )
