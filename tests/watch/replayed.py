"""A dashboard of a run that is not there: the real server and observer, a made-up broker, logs of any size.

    python -m tests.watch.replayed DIR --port 18080 --actors 200 --records 100000 --live 200

prints its address. `DIR/away`, while it exists, keeps the broker from answering. For the page's tests, and to look
at how the page bears a load.
"""

import json
import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from common.errors import BrokerUnreachable
from common.log_lines import LOG_FILE, SEVERITY_NUMBERS, TRACE_FILE, LogLine, Resource, Scope, encode_line
from common.messages import AgentStatus, ServiceStatus, Status, StoreTotals
from common.process import begin
from common.security import operator_of
from common.settings import Settings
from tests.watch import statuses
from watch.dashboard import serve_dashboard
from watch.guard import Access

INTERVALS = 400
ERROR_EVERY = 997
SPAN_NAMES = ("engine", "encode", "send")
MOVES = "e2e4 e7e5 g1f3 b8c6 f1b5 a7a6 b5a4 g8f6 e1g1 f8e7"
SCORES = "30 25 34 22 38 30 41 33 36 29 40"


@dataclass
class World:
    """What the made-up broker knows."""

    directory: Path
    actors: int
    begun_s: float = field(default_factory=time.monotonic)
    states: dict[str, str] = field(default_factory=dict)

    def status(self) -> Status:
        """Return how things stand now."""
        seconds = time.monotonic() - self.begun_s
        services = [self._actor(number, seconds) for number in range(self.actors)]
        trained = 400 + int(seconds * 2)
        return statuses.status(
            [*services],
            services=[*services, *(statuses.learner(name, trained=trained) for name in statuses.AGENTS)],
            agents=[_agent(name, trained) for name in statuses.AGENTS],
            units_total=4000, games_total=64_000, games_cut=8000 + int(seconds * 20), fraction_read=0.31,
            uptime_s=86_400 + seconds, broker_share=0.34,
        )  # fmt: skip

    def _actor(self, number: int, seconds: float) -> ServiceStatus:
        name = f"actor-{number}"
        state = self.states.get(name, "away" if number % 67 == 66 else "working")
        busy = 0.9 + 0.1 * math.sin(number + seconds / 7)
        positions = int((150_000 + seconds * 900) * (1 + number % 7 / 10))
        actor = statuses.actor(
            number, state=state, progress_s=95.0 if number % 50 == 49 else 0.4,
            positions=positions, engine_positions=positions, engine_nodes=positions * 1000, games=positions // 80,
            transitions=positions * 2, units=positions // 1280, rejected=number % 5, engine_share=min(1.0, busy),
            memory_bytes=90 * statuses.MIB, weights=dict.fromkeys(statuses.AGENTS, 40 - number % 3),
            weights_age_s=dict.fromkeys(statuses.AGENTS, 2.0 + number % 30 + seconds % 5),
        )  # fmt: skip
        host = f"host-{number // 32 + 1}.example"
        return msgspec.structs.replace(actor, host=host, units=list(range(number, number + 6)))


def _agent(name: str, trained: int) -> AgentStatus:
    stored = trained + 30
    games = stored * 16
    totals = StoreTotals(units=stored, games_read=games, games_used=games - 12, rejected={"illegal-move": 12})
    return statuses.agent(
        name, trained=trained, leased=24, units_stored=stored, produced=stored * 640 + 90, stored=stored * 640,
        duplicates=50, step=trained * 5, version=40, loss=2.31, totals=totals,
    )  # fmt: skip


class Link:
    """The operator's link to the made-up broker."""

    def __init__(self, world: World) -> None:
        self._world = world

    def status(self, timeout_s: float) -> Status:
        if (self._world.directory / "away").exists():
            time.sleep(min(timeout_s, 0.2))
            raise BrokerUnreachable("broker at 127.0.0.1:5750 does not answer")
        return self._world.status()

    def command(self, action: str, names: Sequence[str], timeout_s: float) -> tuple[list[str], list[str]]:
        known = [f"actor-{number}" for number in range(self._world.actors)]
        wanted = list(names) or known
        states = {"pause": "paused", "resume": "working", "drain": "draining", "reset": "working"}
        for name in set(wanted) & set(known):
            self._world.states[name] = states[action]
        with (self._world.directory / "orders").open("a") as file:
            file.write(json.dumps([action, list(names)]) + "\n")
        return [name for name in wanted if name in known], [name for name in wanted if name not in known]

    def close(self) -> None:
        pass


class Logs:
    """Writes the collector's two files: so many records at once, then some a second."""

    def __init__(self, directory: Path, actors: int) -> None:
        self._directory, self._actors = directory, actors
        self._random = random.Random(1)
        self._number = 0

    def write_history(self, records: int, seconds: float = 3600.0) -> None:
        """Write `records` records over the last `seconds`, learning curves and games among them."""
        now = time.time()
        every = max(1, records // INTERVALS)
        with (self._directory / LOG_FILE).open("wb") as file:
            for number in range(records):
                at = now - seconds * (1 - number / records)
                if number % every == 0:
                    for name in statuses.AGENTS:
                        file.write(encode_line(self._interval(number // every, name, at)) + b"\n")
                file.write(encode_line(self._record(at)) + b"\n")
        with (self._directory / TRACE_FILE).open("wb") as file:
            for line in self._spans(now - 120.0, 120.0):
                file.write(encode_line(line) + b"\n")
            file.write(encode_line(self._game(now)) + b"\n")

    def go_on(self, a_second: int) -> None:
        """Append records and spans for ever."""
        while True:
            begun = time.time()
            time.sleep(0.25)
            with (self._directory / LOG_FILE).open("ab") as file:
                file.write(b"".join(encode_line(self._record(time.time())) + b"\n" for _ in range(a_second // 4)))
            with (self._directory / TRACE_FILE).open("ab") as file:
                lines = (encode_line(line) + b"\n" for line in self._spans(begun, time.time() - begun))
                file.write(b"".join(lines))

    def _record(self, at: float) -> LogLine:
        self._number += 1
        service = f"actor-{self._random.randrange(self._actors)}"
        if self._number % ERROR_EVERY == 0:
            fields = {
                "unit": self._number,
                "exception.stacktrace": "Traceback (most recent call last):\n  …\nOSError: full",
            }
            return _line(at, service, "engine died", "ERROR", self._number, **fields)
        if self._number % 211 == 0:
            return _line(at, "broker", "lease ran out", "WARNING", self._number, unit=self._number, actor=service)
        return _line(
            at, service, "unit sent", "INFO", self._number, unit=self._number, transitions=640, seconds=7.25
        )

    def _interval(self, index: int, agent: str, at: float) -> LogLine:
        falls = math.exp(-index / 120)
        figures = {
            "agent": agent, "step": index * 5, "first_unit": index, "last_unit": index, "transitions": 640,
            "version": index // 10,
            "td_error": 0.05 + 0.03 * falls + self._random.uniform(0, 0.004), "match_top1": 0.35 - 0.3 * falls,
            "match_top3": 0.6 - 0.4 * falls, "q_loss": 1.5 + 2.5 * falls, "value_loss": 1.4 + 2.4 * falls,
            "prior_loss": 2.2 + falls, "gradient_norm": 1.0 + self._random.random(),
        }  # fmt: skip
        if index % 20 == 0:
            figures |= {"validation_loss": 2.4 + falls, "validation_match_top1": 0.33 - 0.28 * falls}
        self._number += 1
        return _line(at, f"learner-{agent}", "interval trained", "INFO", self._number, **figures)

    def _spans(self, begin: float, seconds: float) -> Iterator[LogLine]:
        for number in range(self._actors):
            at = begin + (number % 10) / 40
            while at < begin + seconds:
                for name, lasted in zip(SPAN_NAMES, (2.0, 0.05, 0.02), strict=True):
                    fields = {
                        "name": name,
                        "begin_ns": int(at * 1e9),
                        "seconds": min(lasted, seconds),
                        "unit": number,
                    }
                    yield _line(at, f"actor-{number}", "span", "DEBUG", 0, **fields)
                    at += lasted

    def _game(self, at: float) -> LogLine:
        return _line(
            at, "actor-0", "game", "DEBUG", 0, unit=3, game=51, source="games/broadcast.pgn.zst", line=812,
            start_fen="rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1", moves=MOVES, scores=SCORES,
            result="1-0", agents="white black",
        )  # fmt: skip


def _line(at: float, service: str, event: str, level: str, number: int, **fields: Any) -> LogLine:
    return LogLine(
        time=datetime.fromtimestamp(at, UTC), severity=level, severity_number=SEVERITY_NUMBERS[level], event=event,
        body=event, resource=Resource(service=service, instance="s", host="host-1.example"),
        scope=Scope(name="replayed"), attributes={**fields, "log.record.number": number},
    )  # fmt: skip


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--port", type=int, default=0)
@click.option("--actors", type=int, default=200)
@click.option("--records", type=int, default=100_000)
@click.option("--live", type=int, default=0, help="Records appended a second, and spans.")
def main(directory: Path, port: int, actors: int, records: int, live: int) -> None:
    """Serve until interrupted."""
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    logs = Logs(directory / "logs", actors)
    logs.write_history(records)
    if live:
        threading.Thread(target=logs.go_on, args=(live,), daemon=True).start()
    world = World(directory, actors)
    settings = Settings(run=str(directory))
    process = begin(settings, operator_of(settings), lambda: settings)
    serve_dashboard(
        settings, process, lambda: Link(world), Access(bind="127.0.0.1"), port, click.echo, show_password=False
    )


if __name__ == "__main__":
    main()
