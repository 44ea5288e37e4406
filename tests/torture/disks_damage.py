"""Files cut off at any byte or with a flipped byte; then training goes on to the end, in this process."""

import logging
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.batch import decode, encode
from common.settings import AgentSettings, Settings, Side
from deploy.sequential import AgentRun
from learner.directory import AgentDirectory
from learner.pages import PAGE_BYTES
from tests.learner.units import random_batch
from tests.torture.disk_trace import fresh
from tests.torture.disks_learner import Trained, train_to_the_end
from tests.torture.outcome import Outcome, Setting

AGENT = AgentSettings(name="white", side=Side.WHITE)
UNITS = 16
TRAINED = 11
_HEADER_BYTES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """One byte changed, or the file cut off before it."""

    state: str
    """`stopped` in order, or `killed` with its write-ahead log."""
    file: str
    """Path below the agent's directory."""
    at: int
    flip: int | None
    """What the byte is changed by; None where the file is cut off."""

    def __str__(self) -> str:
        what = "cut at" if self.flip is None else f"flipped by {self.flip} at"
        return f"{self.state}: {self.file} {what} byte {self.at}"


class Told(logging.Handler):
    """Counts the events of warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.events: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.events[record.getMessage()] += 1


def run(setting: Setting) -> list[Outcome]:
    """Damage the files of an agent, one place a try; the run has to end as if nothing had been."""
    if setting.short:
        return _damage_all(setting, "table", per_file=2)
    return [*_damage_all(setting, "table", per_file=100), *_damage_all(setting, "mlp", per_file=8)]


def _damage_all(setting: Setting, network: str, per_file: int) -> list[Outcome]:
    settings = Settings(
        run=str(setting.folder / "run"), agents=(AGENT,), network=network, seed=5, batch_size=16, buffer_size=250,
        publish_every=10, checkpoint_every=12, samples_per_transition=0.5,
    )  # fmt: skip
    bodies = {unit: encode(random_batch(unit, games=8)) for unit in range(UNITS)}
    fresh(settings.directory)
    wanted = train_to_the_end(settings, AGENT, bodies)
    assert wanted.bodies == bodies
    states = fresh(setting.folder / "states")
    make_states(settings, bodies, states)
    rng = random.Random(setting.seed)
    stores = [damage for damage in damages(states, rng, per_file) if damage.file.startswith("experience.db")]
    others = [damage for damage in damages(states, rng, per_file) if not damage.file.startswith("experience.db")]
    what = "checkpoint, weights or metrics cut or flipped"
    return [
        _try(f"disks: store cut or flipped ({network})", setting, settings, states, stores, wanted),
        _try(f"disks: {what} ({network})", setting, settings, states, others[:: 3 if setting.short else 5], wanted),
    ]


def make_states(settings: Settings, bodies: dict[int, bytes], states: Path) -> None:
    """Put into `states` what a learner leaves on disk half-way: stopped in order, and killed."""
    directory = AgentDirectory.of(settings.directory, AGENT.name).path
    shutil.rmtree(settings.directory)
    run = AgentRun(settings, AGENT)
    for unit, body in bodies.items():
        run.put(decode(body))
        if unit == TRAINED:
            run.store._connection.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            )  # some units in the file, some in the log
    for _ in range(TRAINED):
        run.train_one()
    shutil.copytree(directory, states / "killed")
    run.close()
    shutil.copytree(directory, states / "stopped")


def damages(states: Path, rng: random.Random, count: int) -> Iterator[Damage]:
    """Yield cuts and flips of every file, `count` of each: at its borders, in headers, and anywhere."""
    for state in sorted(states.iterdir()):
        checkpoints = sorted((state / "checkpoints").iterdir())
        files = [state / name for name in ("experience.db", "experience.db-wal", "weights.safetensors")]
        files += [state / "metrics.jsonl", *sorted(checkpoints[-1].iterdir())]
        for file in files:
            if not file.exists() or not file.stat().st_size:
                continue
            for number in range(2 * count):
                at = _place(rng, file.stat().st_size, number)
                flip = rng.randrange(1, 256) if number % 2 else None
                yield Damage(state=state.name, file=str(file.relative_to(state)), at=at, flip=flip)


def _place(rng: random.Random, size: int, number: int) -> int:
    borders = rng.randrange(size // PAGE_BYTES + 1) * PAGE_BYTES + rng.randrange(-2, 3)
    anywhere = rng.randrange(size)
    places = (anywhere, borders, anywhere, rng.randrange(_HEADER_BYTES), anywhere, size - 1 - rng.randrange(3))
    return min(max(0, places[number // 2 % len(places)]), size - 1)


def inflict(damage: Damage, directory: Path) -> None:
    """Damage a file below `directory`."""
    path = directory / damage.file
    content = bytearray(path.read_bytes())
    path.unlink()  # it may be a link to the one that stays whole
    if damage.flip is None:
        path.write_bytes(content[: damage.at])
    else:
        content[damage.at] ^= damage.flip
        path.write_bytes(content)


def _copied(source: str, target: str) -> str:
    """Copy a file; those of a checkpoint, which nobody writes to again, by a link."""
    if Path(source).parent.name.startswith("step-"):
        os.link(source, target)
        return target
    return shutil.copy(source, target)


def _try(
    part: str, setting: Setting, settings: Settings, states: Path, faults: list[Damage], wanted: Trained
) -> Outcome:
    directory = AgentDirectory.of(settings.directory, AGENT.name).path
    failures: list[str] = []
    identical = True
    lost = doubled = again = 0
    told = Told()
    logging.getLogger().addHandler(told)
    try:
        for number, damage in enumerate(faults):
            shutil.rmtree(directory, ignore_errors=True)
            shutil.copytree(states / damage.state, directory, copy_function=_copied)
            inflict(damage, directory)
            try:
                found = train_to_the_end(settings, AGENT, wanted.bodies)
            except Exception as error:
                failures.append(f"{damage}: {type(error).__name__}: {error}")
                continue
            again += found.units_made_again
            lost += len(wanted.bodies.keys() - found.bodies.keys())
            doubled += len(found.bodies.keys() - wanted.bodies.keys())
            if found.bodies != wanted.bodies:
                failures.append(f"{damage}: a unit is not what it was")
            if found.weights != wanted.weights:
                identical = False
                failures.append(f"{damage}: other weights")
            if number % 100 == 99:
                setting.say(f"{part}: {number + 1} of {len(faults)}")
    finally:
        logging.getLogger().removeHandler(told)
    units = len(wanted.bodies) * len(faults)
    return Outcome(
        part=part, tries=len(faults), unit="cuts and flips", faults=len(faults),
        expected=units, stored=units - lost, lost=lost, doubled=doubled, weights_identical=identical,
        failures=failures,
        figures={
            "units made again": again, "stores mended": told.events["store mended: what it lacks is made again"],
            "logs read past damage": told.events["units found in a damaged log"],
            "checkpoints passed over": told.events["checkpoint damaged"],
        },
    )  # fmt: skip
