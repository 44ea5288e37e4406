import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import chess
import chess.engine
import pytest

from arena.uci_stream import LINE_BYTES_MAX, lines

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "tests.arena.uci_process"]
UCI = [
    sys.executable,
    "-c",
    "from arena.uci_command import uci; from common.options import run; run(uci, 'rookery uci')",
]


@pytest.fixture(scope="module")
def engine() -> Iterator[chess.engine.SimpleEngine]:
    with chess.engine.SimpleEngine.popen_uci(COMMAND, timeout=120, cwd=ROOT) as engine:
        yield engine


def test_a_game_on_the_clock_is_played_to_its_end_by_python_chess(engine: chess.engine.SimpleEngine) -> None:
    board, game = chess.Board("8/5k2/8/8/8/8/1Q6/2K5 w - - 0 1"), object()
    engine.configure({"Nodes": 8})
    while not board.is_game_over(claim_draw=True):
        limit = chess.engine.Limit(white_clock=5, black_clock=5, white_inc=0.1, black_inc=0.1)
        result = engine.play(board, limit, game=game)
        assert result.move is not None
        board.push(result.move)
    engine.configure({"Nodes": 0})


def test_analysis_gives_lines_scores_and_chances(engine: chess.engine.SimpleEngine) -> None:
    engine.configure({"UCI_ShowWDL": True})
    infos = engine.analyse(chess.Board(), chess.engine.Limit(nodes=64), multipv=3)
    assert [info["multipv"] for info in infos] == [1, 2, 3]
    for info in infos:
        board = chess.Board()
        for move in info["pv"]:
            assert move in board.legal_moves
            board.push(move)
        assert sum(info["wdl"].relative) == 1000
    assert infos[0]["nodes"] == 64


def test_mate_and_root_moves_are_obeyed(engine: chess.engine.SimpleEngine) -> None:
    board = chess.Board("6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1")
    info = engine.analyse(board, chess.engine.Limit(mate=1))
    assert info["score"].relative == chess.engine.Mate(1)
    other = chess.Move.from_uci("g1f1")
    assert engine.play(board, chess.engine.Limit(nodes=20), root_moves=[other]).move == other


def test_time_for_a_move_is_kept(engine: chess.engine.SimpleEngine) -> None:
    engine.play(chess.Board(), chess.engine.Limit(nodes=1))
    begun_s = time.monotonic()
    engine.play(chess.Board(), chess.engine.Limit(time=0.3))
    assert 0.1 < time.monotonic() - begun_s < 5  # the machine may be busy


def test_an_infinite_analysis_stops_when_told(engine: chess.engine.SimpleEngine) -> None:
    with engine.analysis(chess.Board()) as analysis:
        analysis.get()
        analysis.stop()
        assert analysis.wait().move in chess.Board().legal_moves


def converse(text: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(COMMAND, input=text, capture_output=True, timeout=120, cwd=ROOT, check=False)


def test_the_end_of_input_quits_and_hostile_bytes_do_not() -> None:
    hostile = b"\xff\xfe\x00\n" + b"z" * (3 * LINE_BYTES_MAX) + b"\nposition fen " + bytes(range(1, 10)) + b"\n"
    done = converse(hostile + b"uci\nposition startpos\ngo nodes 1\nisready\n")
    assert done.returncode == 0
    assert done.stderr == b""
    assert b"uciok" in done.stdout
    assert b"bestmove " in done.stdout
    known = (b"id ", b"option ", b"uciok", b"readyok", b"info ", b"bestmove ")
    assert all(line.startswith(known) for line in done.stdout.splitlines())


def test_a_gui_that_is_gone_ends_the_engine() -> None:
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: PT018
        process.stdin.write(b"isready\ngo infinite\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"readyok\n"
        process.stdout.close()
        process.stdin.close()
        assert process.wait(120) == 0
        assert process.stderr.read() == b""


def test_what_cannot_be_played_is_one_line(tmp_path: Path) -> None:
    torn = tmp_path / "weights.safetensors"
    torn.write_bytes(b"torn")
    with subprocess.Popen(
        [*UCI, str(torn)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.wait(120) == 2  # though nobody says a word
        assert process.stderr
        assert process.stderr.read().count(b"\n") == 1
    for arguments, said in (
        ([str(tmp_path / "nothing")], b"no such file"),
        (["-o", "Nodes"], b"takes NAME=VALUE"),
        (["-o", "Nodes=x"], b"takes a number"),
        (["-o", "Nonsense=1"], b"no option 'Nonsense'"),
    ):
        done = subprocess.run([*UCI, *arguments], input=b"", capture_output=True, cwd=ROOT, check=False)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_lines_that_are_too_long_are_left_out_whole() -> None:
    stream = BytesIO(b"a\n" + b"x" * (2 * LINE_BYTES_MAX) + b" quit\nb\r\n\nc")
    assert list(lines(stream)) == ["a\n", "b\r\n", "\n", "c"]
