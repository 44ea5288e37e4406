"""`python -m benchmarks [NAME...] [--quick]`: print the speed table and write build/bench.json.

A figure that misses its promise is reported as such, and an error in one bench does not stop the others:
the exit code is 0 either way.
"""

import argparse
import importlib
import json
import os
import platform
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actor.engine_process import find_engine
from benchmarks.figure import Disturbance, Figure
from benchmarks.real_games import SHARED, games_file
from benchmarks.scale import ROOT, Scale

BENCHES = (
    "wire_size", "replay", "store_start", "broker", "learner", "actor", "pipeline",
    "nats_through", "nats_latency", "nats_memory", "nats_fleet", "nats_pipeline",
)  # fmt: skip
"""Modules of this package, each with `measure(scale) -> Iterator[Figure]`."""
BY_NAME_ONLY = ("nats_sizing",)
"""More of them, which take their time."""


def main() -> None:
    known = (*BENCHES, *BY_NAME_ONLY)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benches to run: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: see that all runs, measure nothing")
    parser.add_argument("--engine", default="stockfish", help="path or name of Stockfish")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in known]
    if unknown:
        parser.error(f"no bench is called {', '.join(unknown)}; there are {', '.join(known)}")
    console = Console(width=max(140, Console().width), highlight=False)
    work = ROOT / "build" / "bench"
    work.mkdir(parents=True, exist_ok=True)
    scale = Scale(quick=chosen.quick, work=work, engine=find_engine(chosen.engine))
    source = games_file()
    console.print(f"{processor()}, {os.cpu_count()} cores; games: {source.relative_to(ROOT.parent)}")
    if source != SHARED:
        console.print("the shared data is not beside the checkout: the sample's 300 games stand in for it")
    figures: list[Figure] = []
    for name in chosen.names or BENCHES:
        figures += run_bench(name, scale, console)
        chosen.to.parent.mkdir(parents=True, exist_ok=True)
        chosen.to.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")
    console.print(table(figures))
    missed = [figure.name for figure in figures if not figure.holds]
    console.print(
        f"{len(figures)} figures in {chosen.to}; " + (f"missed: {'; '.join(missed)}" if missed else "all hold")
    )


def run_bench(name: str, scale: Scale, console: Console) -> list[Figure]:
    """Run one bench; say what it found, how much others disturbed it, or what went wrong."""
    console.print(f"[bold]{name}[/bold]", "…")
    begun_s, disturbance = time.monotonic(), Disturbance()
    figures: list[Figure] = []
    try:
        for figure in importlib.import_module(f"benchmarks.{name}").measure(scale):
            figures.append(figure)
            console.print("  " + line(figure), soft_wrap=True)
    except Exception:
        console.print(f"  [red]{name} failed:[/red]")
        console.print(traceback.format_exc(), markup=False)
    took_s = time.monotonic() - begun_s
    console.print(f"  {took_s:.0f} s; other processes used {disturbance.share():.0%} of the machine")
    return figures


def line(figure: Figure) -> str:
    text = f"{figure.name}: {number(figure.value)} {figure.unit}"
    if figure.ratio is not None:
        text += f", {figure.ratio:.2f} of {figure.against} ({number(figure.reference)})"
    return text + (f"; {figure.note}" if figure.note else "")


def table(figures: list[Figure]) -> Table:
    shown = Table("what", "value", "unit", "against", "reference", "ratio", "at least", "holds")
    for column in (1, 4, 5, 6):
        shown.columns[column].justify = "right"
    for figure in figures:
        shown.add_row(
            figure.name, number(figure.value), figure.unit, figure.against, number(figure.reference),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            "" if figure.at_least is None else f"{figure.at_least:.2f}",
            "" if figure.at_least is None else "yes" if figure.holds else "[red]no[/red]",
        )  # fmt: skip
    return shown


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def processor() -> str:
    """Return the kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
