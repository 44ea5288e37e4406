"""The doctor's look at the engine: whether it works, whether its build suits this CPU, and how fast it is."""

from collections.abc import Iterator
from pathlib import Path

from actor.engine_build import best_build, build_of, read_cpu, words_of
from actor.engine_profile import EngineProfile, profile
from common.errors import EngineNotUsable
from common.settings import EvaluationSource, Settings
from deploy.finding import Facts, Finding, fail, ok, warn

DOWNLOADS = "https://stockfishchess.org/download/linux/"
POSITIONS_A_GAME = 80
"""In the mean of real games."""

CPUINFO = Path("/proc/cpuinfo")


def check_engine(settings: Settings, cpuinfo: Path = CPUINFO) -> Iterator[Finding]:
    """Run the engine that the settings name."""
    try:
        found = profile(settings.engine)
    except EngineNotUsable as error:
        if settings.evals is EvaluationSource.PGN:
            yield ok("engine", f"{error}; none is needed with --evals pgn", {})
        else:
            yield fail(
                "engine", str(error), "sudo apt-get install stockfish, or give another with --engine PATH", {}
            )
        return
    networks = f"network {' '.join(found.networks)}" if found.networks else "no network"
    facts: Facts = {"path": found.path, "name": found.name, "network": networks}
    yield ok("engine", f"{found.name}, {networks}, {found.path}", facts)
    yield judge_build(found, cpuinfo.read_text() if cpuinfo.exists() else "")
    yield _speed(found, settings.nodes)


def judge_build(found: EngineProfile, cpuinfo: str) -> Finding:
    """Return whether the engine's build is slower than the CPU described in `cpuinfo` allows."""
    words, cpu = words_of(found.compiler_answer), read_cpu(cpuinfo)
    build, best = build_of(words), best_build(cpu)
    facts: Facts = {
        "settings": " ".join(sorted(words)), "build": build.name if build else None,
        "best_build": best.name if best else None,
    }  # fmt: skip
    if build is None or best is None:
        whose = "the engine doesn't say for which instructions it was built" if build is None else "unknown CPU"
        return ok("engine build", f"can't be judged: {whose}", facts)
    built = f"built as {build.name} ({' '.join(sorted(words))})"
    summary = f"{built}; this CPU ({cpu.model or 'no model name'}) can run {best.name}"
    if best.wide and not build.wide:
        return warn(
            "engine build",
            summary,
            f"a build for AVX2 or more is faster: take {best.name}, or the next to it that is offered, from "
            f"{DOWNLOADS} and give it with --engine PATH",
            facts,
        )
    if best is not build:
        return ok("engine build", summary, facts, f"{best.name} may be a little faster: {DOWNLOADS}")
    return ok("engine build", f"{built}, which suits this CPU", facts)


def _speed(found: EngineProfile, nodes: int) -> Finding:
    positions_per_s = found.nodes_per_s / nodes
    summary = (
        f"{found.nodes_per_s:,.0f} nodes/s on one thread: at --nodes {nodes} an actor evaluates about "
        f"{positions_per_s:,.0f} positions/s, {positions_per_s * 3600 / POSITIONS_A_GAME:,.0f} games an hour"
    )
    facts: Facts = {"nodes_per_s": round(found.nodes_per_s), "positions_per_s": round(positions_per_s, 2)}
    if not found.nodes_per_s:
        return warn("engine speed", "the engine doesn't say its nodes", "compare engines by a short run", facts)
    return ok("engine speed", summary, facts)
