"""`rookery up`: from PGN files to trained agents on this machine, with one command."""

import logging
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click
import msgspec
from rich.console import Console

from actor.selection import validate
from broker.sources import STDIN, SourceFingerprint, check, fingerprint, keep_stdin
from common.errors import RunDirectoryError, SourceError
from common.messages import AgentStatus
from common.options import settings_from, settings_options
from common.settings import Settings
from common.verbosity import Verbosity, verbosity_options
from deploy.checks import check_device, check_engine, check_keys, check_ports, check_transport, reachable_at
from deploy.dashboard import address, dashboard_options, port_of
from deploy.echo import echoed
from deploy.launch import LocalFleet
from deploy.progress import Progress
from deploy.report import make_report, read_report, summary, write_rejected, write_report
from deploy.run_directory import RunDirectory
from deploy.starts import Recorder, read_starts, recorded
from learner.registry import check_network

INTERRUPTED = 130


class Interrupts:
    """Counts Ctrl-C and SIGTERM: the first asks to drain and save, the second to abort."""

    def __init__(self) -> None:
        self.count = 0
        self.terminated = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def stopping(self) -> bool:
        """Whether to drain."""
        return self.count > 0

    def aborting(self) -> bool:
        """Whether to end at once."""
        return self.count > 1

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.count += 1
        self.terminated = self.terminated or number == signal.SIGTERM


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How the services, or the one process, have ended."""

    finished: bool
    """Whether every agent is trained on every unit."""
    games_total: int | None
    units_total: int | None
    restarts: int = 0
    statuses: Mapping[str, AgentStatus] = field(default_factory=dict)
    """The broker's last words, by agent."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("games", nargs=-1, type=click.Path())
@settings_options
@verbosity_options
@dashboard_options
def up(
    games: tuple[str, ...], verbosity: Verbosity, dashboard: bool, dashboard_port: int | None, **flags: Any
) -> None:
    """Train agents on GAMES... (.pgn, .pgn.zst, .pgn.gz, .pgn.bz2, or - for standard input).

    Starts a broker, a log collector, a learner per agent and the actors, shows progress, and ends when every
    agent has learned from every game exactly once. The same command again goes on where it stopped.

    Example:  rookery up games.pgn.zst --run runs/first --nodes 200
    """
    logging.getLogger().addHandler(logging.NullHandler())  # services log; this command talks
    console = Console(highlight=False)
    shown = Console(quiet=True) if verbosity is Verbosity.QUIET else console
    with RunDirectory(settings_from(flags).directory) as directory:
        settings, sources = _prepare(directory, games, flags)
        done = read_report(directory.report_file)
        if done is not None and done.finished and done.sources == sources:
            console.print(f"all done already: {summary(done, directory.path)}", soft_wrap=True)
            return
        page = port_of(settings, dashboard, dashboard_port)
        check_engine(settings)
        if not settings.sequential:
            check_ports(settings)
            check_transport(settings)
            made = check_keys(settings)
            if made:
                shown.print(f"keys made in {settings.keys} for {', '.join(made)}", soft_wrap=True)
        directory.claim(settings, sources)
        if page is not None:
            shown.print(f"dashboard: {address(page)}", soft_wrap=True)
        with echoed(console, directory.path / "logs", verbosity) as echo:
            code = _run(settings, directory, sources, console, Progress(shown, echo), verbosity, page)
    sys.exit(code)


def _prepare(
    directory: RunDirectory, games: tuple[str, ...], flags: dict[str, Any]
) -> tuple[Settings, list[SourceFingerprint]]:
    """Return the settings and the sources of this start, checked as far as they say what is to be learned."""
    if flags["settings_file"] is None and directory.settings_file.exists():
        flags = {**flags, "settings_file": directory.settings_file}
    settings = settings_from(flags, games=games or None, run=str(directory.path))
    names = [str(keep_stdin(directory.path)) if name == STDIN else name for name in settings.games]
    if not names:
        raise SourceError("no games: name PGN files, for example `rookery up games.pgn --run runs/first`")
    for name in names:
        check(name)
    check_network(settings)
    check_device(settings)
    for agent in settings.agents:
        validate(agent.where)
    settings = msgspec.structs.replace(
        settings,
        games=tuple(str(Path(name).absolute()) for name in names),
        broker=reachable_at(settings),
        keys=str(Path(settings.keys).absolute()) if settings.keys is not None else None,
    )
    sources = [fingerprint(name) for name in names]
    directory.check(settings, sources)
    return settings, sources


def _run(
    settings: Settings,
    directory: RunDirectory,
    sources: list[SourceFingerprint],
    console: Console,
    progress: Progress,
    verbosity: Verbosity,
    dashboard_port: int | None,
) -> int:
    begun_s = time.monotonic()
    interrupts = Interrupts()
    with recorded(directory.starts_file) as recorder, progress:
        if settings.sequential:
            outcome = _in_one_process(settings, progress, interrupts, recorder)
        else:
            arguments = ("--log-level", "debug") if verbosity is Verbosity.VERBOSE else ()
            fleet = LocalFleet(settings, directory, progress, arguments=arguments, dashboard_port=dashboard_port)
            outcome = _in_services(fleet, interrupts, recorder)
        recorder.restarts = outcome.restarts
        recorder.outcome = _how_it_ended(outcome, interrupts)
    if interrupts.aborting():
        console.print("aborted; the same command goes on from the last checkpoints")
        return INTERRUPTED
    report = make_report(
        settings,
        sources,
        seconds=time.monotonic() - begun_s,
        games_total=outcome.games_total,
        units_total=outcome.units_total,
        restarts=outcome.restarts,
        statuses=outcome.statuses,
        starts=read_starts(directory.starts_file),
    )
    try:
        write_rejected(settings, directory.rejected_file)
        write_report(report, directory.report_file)
    except OSError as error:
        console.print(summary(report, directory.path), soft_wrap=True)
        raise RunDirectoryError(
            f"{directory.path}: the report can't be written: {error.strerror}; the run itself is on disk: "
            "make room, then the same command writes it"
        ) from error
    console.print(summary(report, directory.path), soft_wrap=True)
    return 0 if outcome.finished or interrupts.terminated else INTERRUPTED


def _how_it_ended(outcome: Outcome, interrupts: Interrupts) -> str:
    """Return the outcome as starts.jsonl has it."""
    if interrupts.aborting():
        return "aborted"
    return "finished" if outcome.finished else "stopped"


def _in_services(fleet: LocalFleet, interrupts: Interrupts, recorder: Recorder) -> Outcome:
    try:
        finished = fleet.run(interrupts.stopping, interrupts.aborting)
    finally:
        recorder.spent(fleet.engine_nodes, {**fleet.cpu_s, "up": recorder.own_s})
    return Outcome(
        finished=finished,
        games_total=fleet.last.games_total if fleet.last else None,
        units_total=fleet.last.units_total if fleet.last else None,
        restarts=fleet.supervisor.restarts,
        statuses={agent.name: agent for agent in fleet.last.agents} if fleet.last else {},
    )


def _in_one_process(settings: Settings, progress: Progress, interrupts: Interrupts, recorder: Recorder) -> Outcome:
    from deploy.sequential import SequentialRun  # with torch, for which nobody else needs to wait

    run = SequentialRun(settings, interrupts.stopping, progress.note)
    try:
        finished = run.run()
    finally:
        recorder.spent(run.engine_nodes, {"sequential": recorder.own_s + recorder.children_s})
    return Outcome(finished=finished, games_total=run.games_total, units_total=run.units_total)
