import pytest

from actor.engine_build import best_build, build_of, read_cpu, words_of

SSE = "fpu sse sse2 ht syscall nx pni"
SSE41 = f"{SSE} ssse3 sse4_1 sse4_2 popcnt"
AVX2 = f"{SSE41} avx f16c fma avx2"
BMI2 = f"{AVX2} bmi1 bmi2"
AVX512 = f"{BMI2} avx512f avx512dq avx512cd avx512bw avx512vl"
VNNI = f"{AVX512} avx512_vnni"
ICE_LAKE = f"{VNNI} avx512ifma avx512vbmi avx512_vbmi2 avx512_vpopcntdq avx512_bitalg vpclmulqdq gfni vaes"


def cpuinfo(flags: str, vendor: str = "GenuineIntel", family: int = 6) -> str:
    one = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\n"
    return f"processor\t: 0\n{one}processor\t: 1\n{one}"


@pytest.mark.parametrize(
    ("text", "best"),
    [
        (cpuinfo(SSE), "x86-64"),
        (cpuinfo(SSE41), "x86-64-sse41-popcnt"),
        (cpuinfo(AVX2), "x86-64-avx2"),
        (cpuinfo(BMI2), "x86-64-bmi2"),
        (cpuinfo(f"{BMI2} avx_vnni"), "x86-64-avxvnni"),
        (cpuinfo(AVX512), "x86-64-avx512"),
        (cpuinfo(VNNI), "x86-64-vnni512"),
        (cpuinfo(ICE_LAKE), "x86-64-avx512icl"),
        (cpuinfo(BMI2, "AuthenticAMD", 23), "x86-64-avx2"),
        (cpuinfo(BMI2, "AuthenticAMD", 25), "x86-64-bmi2"),
        ("processor\t: 0\nFeatures\t: fp asimd evtstrm aes\nCPU architecture: 8\n", "armv8"),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", "armv8-dotprod"),
    ],
)
def test_a_cpu_gets_the_fastest_build_that_it_can_run(text: str, best: str) -> None:
    build = best_build(read_cpu(text))
    assert build is not None
    assert build.name == best


def test_nothing_is_said_of_an_unknown_cpu() -> None:
    cpu = read_cpu("")
    assert (cpu.model, cpu.flags) == ("", frozenset())
    assert best_build(cpu) is None


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (
            "\nCompiled by g++ (GNUC) 12.2.0 on Linux\nCompilation settings include:  64bit SSE2\n__VERSION__ x\n",
            "x86-64",
        ),
        (
            "Compiled by                : g++ (GNUC) 14.2.0 on Linux\nCompilation architecture   : x86-64-bmi2\n"
            "Compilation settings       : 64bit BMI2 AVX2 SSE41 SSSE3 SSE2 POPCNT\n",
            "x86-64-bmi2",
        ),
        ("Compilation settings : 64bit AVX2 SSE41 SSSE3 SSE2 POPCNT", "x86-64-avx2"),
        ("Compilation settings : 64bit SSE41 SSSE3 SSE2 POPCNT", "x86-64-sse41-popcnt"),
        ("Compilation settings : 64bit VNNI AVX512 BMI2 AVX2 SSE41 SSSE3 SSE2 POPCNT", "x86-64-vnni512"),
        ("Compilation settings : 64bit AVX512ICL VNNI AVX512 BMI2 AVX2 SSE41 SSE2", "x86-64-avx512icl"),
        ("Compilation settings : 64bit VNNI BMI2 AVX2 SSE41 SSSE3 SSE2 POPCNT", "x86-64-avxvnni"),
        ("Compilation settings : 64bit NEON_DOTPROD NEON POPCNT", "armv8-dotprod"),
        ("Compilation settings : 64bit NEON POPCNT", "armv8"),
    ],
)
def test_a_build_is_known_by_its_answer_to_compiler(answer: str, name: str) -> None:
    build = build_of(words_of(answer))
    assert build is not None
    assert build.name == name


@pytest.mark.parametrize("answer", ["", "Unknown command: compiler\n", "Compilation settings : 32bit\n"])
def test_a_build_that_does_not_say_is_not_guessed_at(answer: str) -> None:
    assert build_of(words_of(answer)) is None
