"""Engine builds: for which instructions a Stockfish was built, and which build suits a CPU.

Pure: text in, names out. Called by `rookery doctor`. The same version of Stockfish is offered in several builds;
one for an older CPU runs on a newer one, but slower, and says nothing of it. Which build suits which CPU follows
Stockfish's own scripts/get_native_properties.sh.
"""

import re
from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Build:
    """One of the builds that Stockfish offers."""

    name: str
    """As in the names of the official downloads."""
    needs: frozenset[str]
    """Flags of the CPUs that it is for, as /proc/cpuinfo has them, without underscores."""
    says: frozenset[str]
    """Words in its answer to `compiler`."""
    wide: bool
    """Whether it computes the network in vectors of 256 bits or more: by far the biggest step in speed."""


def _build(name: str, needs: str, says: str, *, wide: bool = False) -> Build:
    return Build(name, frozenset(needs.split()), frozenset(says.split()), wide)


BUILDS = (
    _build(
        "x86-64-avx512icl",
        "avx512f avx512cd avx512vl avx512dq avx512bw avx512ifma avx512vbmi avx512vbmi2 avx512vpopcntdq "
        "avx512bitalg avx512vnni vpclmulqdq gfni vaes",
        "AVX512ICL",
        wide=True,
    ),
    _build("x86-64-vnni512", "avx512vnni avx512dq avx512f avx512bw avx512vl", "VNNI AVX512", wide=True),
    _build("x86-64-avx512", "avx512f avx512bw", "AVX512", wide=True),
    _build("x86-64-avxvnni", "avxvnni", "VNNI AVX2", wide=True),
    _build("x86-64-bmi2", "bmi2 avx2", "BMI2 AVX2", wide=True),
    _build("x86-64-avx2", "avx2", "AVX2", wide=True),
    _build("x86-64-sse41-popcnt", "sse41 popcnt", "SSE41 POPCNT"),
    _build("x86-64", "sse2", "SSE2"),
    _build("armv8-dotprod", "asimddp", "NEON_DOTPROD"),
    _build("armv8", "asimd", "NEON"),
)
"""Fastest first; a CPU takes those of its own kind only, for it has no flag of the other kind."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """What a CPU can do."""

    model: str
    flags: frozenset[str]
    """Lower case, without underscores and dots."""
    slow_bmi2: bool
    """AMD's Zen 1 and 2, whose BMI2 instructions are slower than doing without."""


def read_cpu(cpuinfo: str) -> Cpu:
    """Return the first CPU in the text of /proc/cpuinfo; one without flags where it has none."""

    def field(names: str) -> str:
        found = re.search(rf"^(?:{names})[ \t]*:[ \t]*(.*)$", cpuinfo, re.MULTILINE)
        return found[1].strip() if found else ""

    return Cpu(
        model=field("model name"),
        flags=frozenset(re.sub("[_.]", "", field("flags|Features")).lower().split()),
        slow_bmi2=field("vendor_id") == "AuthenticAMD" and field("cpu family") == "23",
    )


def words_of(compiler_answer: str) -> frozenset[str]:
    """Return the words for the instructions in an engine's answer to `compiler`; none if it doesn't say."""
    found = re.search(r"^Compilation settings[^:\n]*:[ \t]*(.*)$", compiler_answer, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def build_of(words: Set[str]) -> Build | None:
    """Return the build whose answer to `compiler` has these words; None for one that is not known."""
    return next((build for build in BUILDS if build.says <= words), None)


def best_build(cpu: Cpu) -> Build | None:
    """Return the fastest build for a CPU; None if nothing is known of it."""
    fitting = (build for build in BUILDS if build.needs <= cpu.flags)
    return next((build for build in fitting if not (cpu.slow_bmi2 and "bmi2" in build.needs)), None)
