"""Acknowledged means synced: a real learner's every disk call is recorded, and the power cut at many moments."""

import itertools
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.weights import digest, load_weights
from common.errors import RookeryError
from common.messages import Status
from common.security import reach_as_operator
from common.settings import AgentSettings, Settings, Side, to_toml
from learner.directory import AgentDirectory
from learner.store import ExperienceStore
from tests.deploy.runs import SAMPLE, Started, wait_for_status
from tests.torture.disk_trace import Call, Disk, acknowledged, build, environment, fresh, read_trace
from tests.torture.disks_learner import train_to_the_end
from tests.torture.outcome import Outcome, Setting

AGENT = AgentSettings(name="white", side=Side.WHITE)
_UNSYNCED = """
import learner.store as store
prepare = store._Writer._prepare
def without_sync(writer):
    is_new = prepare(writer)
    writer._connection.execute("PRAGMA synchronous = OFF")
    return is_new
store._Writer._prepare = without_sync
from learner.__main__ import main
main()
"""
"""A learner that does not wait for the disk: it has to be found out."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run of which everything is known that its learner did."""

    settings: Settings
    root: Path
    calls: list[Call]
    bodies: dict[int, bytes]
    """The units in the end."""
    weights: str
    acknowledgements: list[tuple[int, set[int]]]
    """Where in `calls` an acknowledgement went out, and of which units."""


def run(setting: Setting) -> list[Outcome]:
    """Cut the power at every acknowledgement and between them; then at a learner that does not sync."""
    library = build(setting.folder)
    synced = record(setting, library, ["rookery-learner"], setting.folder / "synced", setting.base_port)
    unsynced = record(
        setting, library, ["python", "-c", _UNSYNCED], setting.folder / "unsynced", setting.base_port + 10
    )
    lost, cuts = units_lost(unsynced, setting.folder / "cut")
    outcome = cut_the_power(setting, synced)
    found_out = [] if lost else ["a learner that does not sync was not found out: this check can't fail"]
    return [
        replace(
            outcome,
            failures=[*outcome.failures, *found_out],
            figures={**outcome.figures, "units lost by a learner that does not sync": f"{lost} at {cuts} cuts"},
        )
    ]


def record(setting: Setting, library: Path, learner: Sequence[str], folder: Path, base_port: int) -> Recorded:
    """Run broker, actor and learner on a few games to the end, the learner's calls recorded."""
    root = fresh(folder / "disk")
    settings = Settings(
        games=(str(SAMPLE),), run=str(root / "run"), agents=(AGENT,), base_port=base_port, nodes=60,
        limit_games=24 if setting.short else 300, games_per_unit=2 if setting.short else 3,
        network="table", batch_size=32, publish_every=10, checkpoint_every=10,
        samples_per_transition=0.5,
    )  # fmt: skip
    file = folder / "settings.toml"
    file.write_text(to_toml(settings))
    given = ("--settings", str(file))
    trace = folder / "trace"
    recording = environment(library, root, trace)
    aside = ("--run", str(folder / "others"))  # only the learner's disk forgets
    with (
        Started(("rookery-broker", *given, *aside)),
        Started(("rookery-actor", *given, *aside, "--name", "actor-0")),
        Started((*learner, *given, "--agent", AGENT.name), environment=recording) as traced,
    ):
        wait_for_status(
            reach_as_operator(settings), _finished, "the run has finished",
            lambda: traced.process.poll() is None, timeout_s=300.0,
        )  # fmt: skip
        traced.process.send_signal(signal.SIGTERM)
        ended = traced.end()
    assert ended.code == 0, ended.err
    files = AgentDirectory.of(settings.directory, AGENT.name)
    with ExperienceStore(files.experience, AGENT) as store:
        bodies = {int(unit): body for unit, body in store.read_from(0)}
    calls = list(read_trace(trace))
    weights = digest(load_weights(files.weights)[0])
    return Recorded(settings, root, calls, bodies, weights, list(acknowledged(calls)))


def cut_the_power(setting: Setting, run: Recorded) -> Outcome:
    """Cut the power at each acknowledgement and at random calls, strictly and with some of the rest kept."""
    rng = random.Random(setting.seed)
    folder = setting.folder / "cut"
    lost, cuts = units_lost(run, folder)
    failures: list[str] = []
    if not cuts:
        failures.append("no acknowledgement was seen on the wire")
    moments = sorted(rng.sample(range(len(run.calls)), min(len(run.calls), 20 if setting.short else 600)))
    resumed, identical = 0, True
    disk, done = Disk(run.root), 0
    resumes = set(moments[:: len(moments) // (3 if setting.short else 20)])
    for moment in moments:
        for call in run.calls[done : moment + 1]:
            disk.apply(call)
        done = moment + 1
        disk.after_power_cut(fresh(folder), random.Random(rng.random()))
        lost += len(_acked(run, moment) - _kept(run, folder, failures))
        if moment in resumes:
            resumed += 1
            settings = Settings(**{**_as_dict(run.settings), "run": str(folder / "run")})
            identical = train_to_the_end(settings, AGENT, run.bodies).weights == run.weights and identical
    return Outcome(
        part="disks: power cut, unsynced writes dropped",
        tries=cuts + len(moments), unit="cuts", faults=cuts + len(moments),
        expected=len(run.bodies), stored=len(run.bodies), lost=lost, doubled=0, weights_identical=identical,
        failures=failures,
        figures={"disk calls recorded": len(run.calls), "acknowledgements": cuts, "runs gone on with": resumed},
    )  # fmt: skip


def units_lost(run: Recorded, folder: Path) -> tuple[int, int]:
    """Cut the power right after each acknowledgement; return how many acknowledged units are lost, and the cuts."""
    lost = cuts = 0
    disk, done = Disk(run.root), 0
    for moment, _ in run.acknowledgements:
        for call in run.calls[done : moment + 1]:
            disk.apply(call)
        done = moment + 1
        disk.after_power_cut(fresh(folder))
        lost += len(_acked(run, moment) - _kept(run, folder, []))
        cuts += 1
    return lost, cuts


def _acked(run: Recorded, moment: int) -> set[int]:
    return set(itertools.chain.from_iterable(units for at, units in run.acknowledgements if at <= moment))


def _kept(run: Recorded, folder: Path, failures: list[str]) -> set[int]:
    """Return the units that a learner finds on the disk, and that are what they were."""
    try:
        with ExperienceStore(AgentDirectory.of(folder / "run", AGENT.name).experience, AGENT) as store:
            return {int(unit) for unit, body in store.read_from(0) if body == run.bodies[unit]}
    except RookeryError as error:
        failures.append(str(error))
        return set()


def _finished(status: Status) -> bool:
    learners = [service.learner for service in status.services if service.learner is not None]
    return status.finished and bool(learners) and all(learner.finished for learner in learners)


def _as_dict(settings: Settings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}
