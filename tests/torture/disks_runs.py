"""Whole runs whose stores and checkpoints are damaged while they are stopped, and stores while in use."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from common.log_lines import read_log_lines
from common.messages import Status
from learner.directory import AgentDirectory
from tests.deploy.runs import SAMPLE, Run, report_of
from tests.torture.outcome import Outcome, Setting
from tests.torture.undisturbed import Undisturbed, audit, settings_for, undisturbed

AGENTS = ("white", "black")
PAGE_BYTES = 4096


def run(setting: Setting) -> list[Outcome]:
    """Stop a run again and again, damage its files, start it again and damage a store under its learner."""
    games = (SAMPLE,)
    limit = 36 if setting.short else 240
    settings = settings_for(
        games, setting.folder / "run", network="table", nodes=100 if setting.short else 400, limit_games=limit,
        games_per_unit=3, batch_size=32, publish_every=5, checkpoint_every=5,
        samples_per_transition=0.3, max_units_ahead=3, base_port=setting.base_port, actors=1,
    )  # fmt: skip
    wanted = undisturbed(settings, games, limit)
    rng = random.Random(setting.seed)
    faults, failures = 0, []
    directory = setting.folder / "damaged"
    stops = 1 if setting.short else 6
    for stop in range(stops):
        _run_up_to(setting, wanted, directory, (2 * stop + 1) * wanted.units // (2 * stops + 1))
        for agent in AGENTS:
            files = AgentDirectory.of(directory, agent)
            setting.say(f"damaged: {_damage(rng, files.experience)}")
            faults += 1
            newest = sorted(files.checkpoints.glob("step-*"))[-1:]
            for checkpoint in newest if rng.random() < 0.5 else ():
                setting.say(f"damaged: {_damage(rng, rng.choice(sorted(checkpoint.iterdir())))}")
                faults += 1
    with _fleet(setting, wanted, directory) as fleet:
        if _wait_for(fleet, lambda status: min(_trained(status)) > 0.85 * wanted.units):
            for agent in AGENTS:
                faults += _blot_out_a_page(rng, AgentDirectory.of(directory, agent).experience)
        ended = fleet.end(timeout_s=600.0)
    if ended.code == 2 and "damaged" in ended.err:  # after the learners' last look: met in writing the report
        with _fleet(setting, wanted, directory) as fleet:
            ended = fleet.end(timeout_s=600.0)
    part = "disks: whole runs with damaged stores and checkpoints"
    if ended.code != 0 or ended.err:
        failures.append(f"`rookery up` ended with {ended.code}: {ended.err.strip()[-300:]}")
        return [Outcome(part=part, tries=stops + 1, unit="starts", faults=faults, failures=failures)]
    found = audit(directory, wanted, report_of(directory))
    said = Counter(line.event for line in read_log_lines(directory / "logs" / "rookery.jsonl"))
    mended = said["store mended: what it lacks is made again"]
    return [
        Outcome(
            part=part, tries=stops + 1, unit="starts", faults=faults, expected=found.expected, stored=found.stored,
            lost=found.lost, doubled=found.doubled, weights_identical=found.weights_identical,
            failures=found.failures,
            figures={"stores mended": mended, "mended at work": said["store damaged"]},
        )
    ]  # fmt: skip


def _fleet(setting: Setting, wanted: Undisturbed, directory: Path) -> Run:
    file = wanted.settings.directory.with_name("undisturbed.toml")
    return Run(directory, "--settings", str(file), games=wanted.games, base_port=setting.base_port)


def _run_up_to(setting: Setting, wanted: Undisturbed, directory: Path, units: int) -> None:
    """Run until every agent is trained on so many units, then stop in order."""
    with _fleet(setting, wanted, directory) as fleet:
        _wait_for(fleet, lambda status: min(_trained(status)) >= units)
        fleet.process.terminate()
        ended = fleet.end()
    assert ended.code == 0, ended.err


def _wait_for(fleet: Run, condition: Callable[[Status], bool]) -> bool:
    """Wait for a status; False where the run ends before."""
    while fleet.process.poll() is None:
        status = fleet.status()
        if status is not None and condition(status):
            return not status.finished
        time.sleep(0.02)
    return False


def _trained(status: Status) -> list[int]:
    return [agent.units_trained for agent in status.agents] or [0]


def _damage(rng: random.Random, path: Path) -> str:
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    if rng.random() < 0.3:
        path.write_bytes(content[:at])
        return f"{path.parent.name}/{path.name} cut off at byte {at} of {len(content)}"
    content[at] ^= rng.randrange(1, 256)
    path.write_bytes(content)
    return f"{path.parent.name}/{path.name} flipped at byte {at} of {len(content)}"


def _blot_out_a_page(rng: random.Random, store: Path) -> int:
    """Write over a page of a store that is in use; return how many pages that were (none in a small file)."""
    pages = store.stat().st_size // PAGE_BYTES
    if pages < 6:
        return 0
    with store.open("r+b") as file:
        file.seek(rng.randrange(4, pages) * PAGE_BYTES)
        file.write(rng.randbytes(PAGE_BYTES))
    return 1
