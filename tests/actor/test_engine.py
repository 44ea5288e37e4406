import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from actor.engine import Engine, Evaluated
from actor.engine_commands import Line, game_fens
from common.errors import EngineDied, EngineNotUsable
from tests.actor.engine_games import MadeGame, game_of, real_games, unpipelined_scores
from tests.actor.fake_engine import fake_engine, starts

SHUFFLE = ["g1f3", "g8f6", "f3g1", "f6g8"]
NODES = 100


def quick(path: str, **settings: object) -> Engine:
    """An engine whose back-offs take no time."""
    return Engine(path, nodes=NODES, back_off_s=0.001, **settings)  # type: ignore[arg-type]


def finish(engine: Engine, count: int) -> dict[int, Evaluated]:
    """Poll until `count` games are back, however they end."""
    done: dict[int, Evaluated] = {}
    end = time.monotonic() + 60
    while len(done) < count:
        assert time.monotonic() < end, "the engine doesn't finish"
        done |= {evaluated.ticket: evaluated for evaluated in engine.poll(1.0)}
    return done


def score_all(engine: Engine, games: Sequence[MadeGame]) -> list[list[int] | None]:
    tickets = [engine.submit(game) for game in games]
    done = finish(engine, len(games))
    rows = [done[ticket].scores for ticket in tickets]
    return [None if row is None else row.tolist() for row in rows]


def fake_scores(game: MadeGame) -> list[int]:
    """What the scripted engine answers."""
    return [zlib.crc32(f"position fen {fen}".encode()) % 1000 for fen in game_fens(game)]


GAMES = [
    game_of(["e2e4", "e7e5", "g1f3"]),
    game_of(["d2d4", "d7d5", "c2c4", "e7e6"]),
    game_of(["c2c4"]),
    game_of(["b1c3", "b8c6", "e2e4"]),
]


# A real Stockfish ------------------------------------------------------------------------------------


def awkward_games() -> list[MadeGame]:
    return [
        game_of(["e2e4", "e7e5", *SHUFFLE * 3, "f1c4", "g8f6", "c4f1", "f6g8", "d2d4"]),
        game_of(["e2e4", "d4d3", "e4e5"], "8/8/8/8/k2p3R/8/4P3/4K3 w - - 0 1"),
        game_of(["e8g8", "e1c1", "a8a1"], "r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 3 40"),
        game_of(["a7a8q", "h8h7"], "7k/P7/8/8/8/8/8/K7 w - - 97 120"),
        game_of(["f2f3", "e7e5", "g2g4", "d8h4"]),
        game_of(["a2a4"]),
    ]


def test_scores_are_those_of_an_unpipelined_engine(stockfish: str, shared_data: Path) -> None:
    games = [*real_games(shared_data, 24), *awkward_games()]
    assert any(game.positions.repetitions.any() for game in games)
    expected = unpipelined_scores(stockfish, games, NODES)
    with Engine(stockfish, nodes=NODES) as engine:
        assert score_all(engine, games) == [row.tolist() for row in expected]


def test_scores_of_a_very_long_game_are_those_with_all_its_moves(stockfish: str) -> None:
    moves = ["e2e4", "e7e5"]
    for pawn in ("a", "b", "c"):
        moves += [*SHUFFLE * 12, f"{pawn}2{pawn}3", f"{pawn}7{pawn}6", *SHUFFLE * 12]
    moves += SHUFFLE * 40
    game = game_of(moves)
    assert len(moves) > 450
    assert max(game.positions.halfmove_clock) > 200
    expected = unpipelined_scores(stockfish, [game], NODES)
    with Engine(stockfish, nodes=NODES) as engine:
        assert score_all(engine, [game]) == [row.tolist() for row in expected]


def test_scores_do_not_depend_on_what_went_before(stockfish: str, shared_data: Path) -> None:
    games = real_games(shared_data, 12, skip=200)
    with Engine(stockfish, nodes=NODES) as engine:
        forward = score_all(engine, games)
        backward = score_all(engine, games[::-1])
    with Engine(stockfish, nodes=NODES, window=1) as engine:
        alone = score_all(engine, games[5:6])
    assert forward == backward[::-1]
    assert alone == forward[5:6]


def test_scores_do_not_depend_on_a_restart(stockfish: str, shared_data: Path) -> None:
    games = real_games(shared_data, 12, skip=300)
    with quick(stockfish) as engine:
        expected = score_all(engine, games)
        tickets = [engine.submit(game) for game in games]
        done = {evaluated.ticket: evaluated for evaluated in engine.poll(10.0)}
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        done |= finish(engine, len(games) - len(done))
        assert engine.stats().restarts == 1
    rows = [done[ticket].scores for ticket in tickets]
    assert [row.tolist() for row in rows if row is not None] == expected


def test_the_engine_ends_when_its_actor_is_killed(stockfish: str) -> None:
    program = (
        "import sys\n"
        "from actor.engine import Engine\n"
        "from tests.actor.engine_games import game_of\n"
        f"with Engine({stockfish!r}, nodes=200_000) as engine:\n"
        "    for _ in range(100): engine.submit(game_of(['e2e4', 'e7e5', 'd2d4']))\n"
        "    engine.poll(0.0)\n"
        "    print(engine.pid, flush=True)\n"
        "    while True: engine.poll(10.0)\n"
    )
    actor = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert actor.stdout is not None
    with actor.stdout:
        child = psutil.Process(int(actor.stdout.readline()))
        actor.kill()
        actor.wait()
        psutil.wait_procs([child], timeout=10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_fingerprint_names_all_that_scores_depend_on(stockfish: str) -> None:
    with Engine(stockfish, nodes=123) as engine:
        parts = engine.fingerprint.split("; ")
    assert parts[0].startswith("Stockfish")
    assert parts[1].startswith("nn-")
    assert parts[2:] == ["Threads=1", "Hash=16", "nodes=123", "scoring=1"]


# Scripted engines: the loop --------------------------------------------------------------------------


def test_each_game_gets_its_own_scores(tmp_path: Path) -> None:
    with quick(fake_engine(tmp_path)) as engine:
        assert score_all(engine, GAMES) == [fake_scores(game) for game in GAMES]
        stats = engine.stats()
    positions = sum(len(game.positions) for game in GAMES)
    assert (stats.positions, stats.nodes, stats.games, stats.failed) == (positions, 5 * positions, 4, 0)
    assert (stats.outstanding, stats.ahead, stats.restarts) == (0, 0, 0)


def test_sets_of_lines_are_not_counted_as_games(tmp_path: Path) -> None:
    poisoned = "def go():\n    if '2PP4' in position: os._exit(1)\n    answer()"
    start, fatal = game_fens(GAMES[0])[0], game_fens(GAMES[1])[3]
    with quick(fake_engine(tmp_path, poisoned)) as engine:
        engine.submit(GAMES[0])
        tickets = [engine.submit_lines([Line(start), Line(start)]), engine.submit_lines([Line(fatal)])]
        done = finish(engine, 3)
        stats = engine.stats()
    assert [done[ticket].failure for ticket in tickets] == [None, "the engine ended"]
    assert (stats.games, stats.failed) == (1, 0)


def test_a_game_without_a_position_to_ask_is_done_at_once(tmp_path: Path) -> None:
    mated = game_of([], "7k/6Q1/6K1/8/8/8/8/8 b - - 0 1")
    with quick(fake_engine(tmp_path)) as engine:
        assert score_all(engine, [mated]) == [[-32000]]


def test_nothing_submitted_means_nothing_to_wait_for(tmp_path: Path) -> None:
    with quick(fake_engine(tmp_path)) as engine:
        assert engine.poll(60.0) == []


def test_no_more_than_the_window_is_written_ahead(tmp_path: Path) -> None:
    with quick(fake_engine(tmp_path, "def go(): forever()"), window=5) as engine:
        for game in GAMES:
            engine.submit(game)
        assert engine.poll(0.0) == []
        assert (engine.stats().ahead, engine.outstanding) == (5, 15)
        assert engine.hungry


def test_a_window_of_commands_beyond_the_pipe_does_not_lock_up(tmp_path: Path) -> None:
    noisy = 'def go():\n    say("info string " + "x" * 100_000)\n    answer()\n'
    game = game_of(SHUFFLE * 24)
    with quick(fake_engine(tmp_path, noisy), window=5000) as engine:
        tickets = [engine.submit(game) for _ in range(20)]
        assert set(finish(engine, 20)) == set(tickets)


def test_wake_ends_a_poll_early_from_another_thread(tmp_path: Path) -> None:
    with quick(fake_engine(tmp_path, "def go(): forever()")) as engine:
        engine.submit(GAMES[0])
        engine.poll(0.0)
        waker = threading.Thread(target=engine.wake)
        waker.start()
        began = time.monotonic()
        assert engine.poll(60.0) == []
        waker.join()
        assert time.monotonic() - began < 30


def test_leaving_does_not_wait_for_a_busy_engine(tmp_path: Path) -> None:
    with quick(fake_engine(tmp_path, "def go(): forever()")) as engine:
        engine.submit(GAMES[0])
        engine.poll(0.0)
        pid = engine.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_reset_forgets_all_games(tmp_path: Path) -> None:
    with quick(fake_engine(tmp_path, "def go():\n    if starts > 1: answer()\n    else: forever()")) as engine:
        engine.submit(GAMES[0])
        engine.poll(0.0)
        engine.reset()
        assert engine.outstanding == 0
        assert score_all(engine, GAMES) == [fake_scores(game) for game in GAMES]


def test_an_engine_that_is_no_stockfish_is_asked_one_position_at_a_time(tmp_path: Path) -> None:
    watchful = "def go():\n    if rest or select.select([0], [], [], 0)[0]: os._exit(1)\n    answer()"
    repeating = game_of(SHUFFLE * 2)
    with quick(fake_engine(tmp_path, watchful, name="Other 1.0")) as engine:
        scores = score_all(engine, [*GAMES, repeating])
    assert scores[:4] == [fake_scores(game) for game in GAMES]
    assert scores[4] is not None
    assert starts(tmp_path) == 1


# Scripted engines: deaths ----------------------------------------------------------------------------


def test_an_engine_that_dies_is_restarted_and_the_games_begin_again(tmp_path: Path) -> None:
    dying = "def go():\n    if starts < 3 and games == 2 and searches == 6: os._exit(1)\n    answer()"
    with quick(fake_engine(tmp_path, dying)) as engine:
        assert score_all(engine, GAMES) == [fake_scores(game) for game in GAMES]
        assert engine.stats().restarts == starts(tmp_path) - 1 >= 1


def test_a_game_that_kills_the_engine_three_times_is_given_back_and_no_other(tmp_path: Path) -> None:
    poisoned = "def go():\n    if '2PP4' in position: os._exit(1)\n    answer()"
    games = [GAMES[0], GAMES[3], GAMES[1], GAMES[0]]
    with quick(fake_engine(tmp_path, poisoned)) as engine:
        tickets = [engine.submit(game) for game in games]
        done = finish(engine, 4)
        assert engine.outstanding == 0
        assert engine.stats().failed == 1
    assert done[tickets[2]].scores is None
    assert done[tickets[2]].failure == "the engine ended"
    for number in (0, 1, 3):
        scores = done[tickets[number]].scores
        assert scores is not None
        assert scores.tolist() == fake_scores(games[number])
    assert starts(tmp_path) == 4


def test_an_engine_that_dies_over_commands_read_ahead_costs_no_innocent_game(tmp_path: Path) -> None:
    """It reads all commands at once and dies before it answers any, whichever game they are of."""
    body = (
        "def go(): answer()\n"
        "plain_read = os.read\n"
        "def read(*args):\n"
        "    data = plain_read(*args)\n"
        "    if b'2PP4' in data: os._exit(1)\n"
        "    return data\n"
        "os.read = read\n"
    )
    games = [GAMES[0], GAMES[3], GAMES[1], GAMES[0]]
    with quick(fake_engine(tmp_path, body)) as engine:
        rows = score_all(engine, games)
    assert rows == [fake_scores(games[0]), fake_scores(games[1]), None, fake_scores(games[3])]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("os._exit(1)", "ended"),
        ("say('bestmove a1a1')", "without a score"),
        ("say('info score cp 99999999\\nbestmove a1a1')", "beyond belief"),
        ("answer(); answer()", "no question"),
        ("os.write(1, b'x' * 3_000_000)", "a line of more than"),
        ("forever()", "hung"),
        ("say('info depth 1 score cp 5'); forever()", "hung"),
    ],
)
def test_a_lying_or_hanging_engine_counts_as_dead(tmp_path: Path, fault: str, reason: str) -> None:
    with quick(fake_engine(tmp_path, f"def go(): {fault}"), patience_s=0.05) as engine:
        ticket = engine.submit(GAMES[2])
        evaluated = finish(engine, 1)[ticket]
    assert evaluated.scores is None
    assert reason in (evaluated.failure or "")
    assert starts(tmp_path) >= 3


def test_a_flood_of_lines_without_a_best_move_counts_as_hung(tmp_path: Path) -> None:
    flood = "def go():\n    while True: os.write(1, b'info depth 1 score cp 5\\n' * 1000)"
    with quick(fake_engine(tmp_path, flood), patience_s=0.05) as engine:
        ticket = engine.submit(GAMES[2])
        assert "hung" in (finish(engine, 1)[ticket].failure or "")


def test_an_engine_is_not_silent_while_nobody_polls(tmp_path: Path) -> None:
    now = [0.0]
    path = fake_engine(tmp_path, "def go(): forever()")
    with Engine(path, nodes=1, patience_s=30.0, clock=lambda: now[0]) as engine:
        engine.submit(GAMES[0])
        for _ in range(30):
            engine.poll(0.0)
            now[0] += 1000.0
        assert engine.pid is not None
        engine.poll(0.0)
        now[0] += 1.0
        engine.poll(0.0)
        assert engine.pid is None


def test_the_back_off_doubles_up_to_its_limit_with_jitter(tmp_path: Path) -> None:
    now = [0.0]
    engine = Engine(fake_engine(tmp_path), nodes=1, clock=lambda: now[0], jitter=lambda: 1.0)
    pauses = []
    for _ in range(12):
        engine._back_off(now[0])
        pauses.append(engine._up_at)
    assert pauses[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert pauses[-1] == 30.0
    engine._jitter = lambda: 0.0
    engine._back_off(now[0])
    assert engine._up_at == 15.0


def test_poll_returns_in_time_while_the_engine_is_down(tmp_path: Path) -> None:
    path = fake_engine(tmp_path, "def go(): os._exit(1)")
    with Engine(path, nodes=1, back_off_s=25.0) as engine:
        engine.submit(GAMES[0])
        end = time.monotonic() + 20
        while engine.pid is not None:
            assert time.monotonic() < end
            engine.poll(0.01)
        assert engine.poll(0.01) == []


def test_an_engine_that_can_not_be_restarted_is_not_usable(tmp_path: Path) -> None:
    path = fake_engine(
        tmp_path, "def hello():\n    if starts > 1: os._exit(1)\n    say('uciok')\ndef go(): os._exit(1)"
    )
    with quick(path) as engine:
        engine.submit(GAMES[0])
        with pytest.raises(EngineNotUsable, match="ends without"):
            finish(engine, 1)
    assert starts(tmp_path) == 6


def test_an_engine_that_somebody_kills_in_its_handshake_died_and_may_be_started_again(tmp_path: Path) -> None:
    path = fake_engine(tmp_path, "def hello(): os.kill(os.getpid(), 9)")
    with pytest.raises(EngineDied, match="was ended by SIGKILL while it started"), quick(path):
        pass


def test_an_engine_that_the_processor_can_not_run_is_not_usable(tmp_path: Path) -> None:
    path = fake_engine(tmp_path, "def hello(): os.kill(os.getpid(), 4)")
    with (
        pytest.raises(EngineNotUsable, match="SIGILL ends it, as it does a build for another CPU; give another"),
        quick(path),
    ):
        pass


def test_another_engine_after_a_restart_is_refused(tmp_path: Path) -> None:
    body = "def hello(): say(f'id name Stockfish {starts}\\nuciok')\ndef go(): os._exit(1)"
    with quick(fake_engine(tmp_path, body)) as engine:
        engine.submit(GAMES[0])
        with pytest.raises(EngineNotUsable, match="another engine"):
            finish(engine, 1)


# Engines that are none -------------------------------------------------------------------------------


def refusal(path: str, **settings: float) -> str:
    with pytest.raises(EngineNotUsable) as caught, Engine(path, nodes=1, **settings):  # type: ignore[arg-type]
        pass
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_engine_is_named() -> None:
    assert "no engine 'no-such-engine'" in refusal("no-such-engine")
    assert "no engine '/nowhere/engine'" in refusal("/nowhere/engine")


def test_a_file_that_is_not_executable_is_named(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.write_text("text")
    assert "chmod +x" in refusal(str(path))
    assert "is a directory" in refusal(str(tmp_path))


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.write_text("text")
    path.chmod(0o755)
    assert "can't be run" in refusal(str(path))


def test_a_program_that_ends_at_once_is_no_engine() -> None:
    assert "ends without" in refusal("true")


def test_a_program_that_only_echoes_is_no_engine() -> None:
    assert "in time" in refusal("cat", handshake_s=0.05)


def test_a_program_that_floods_is_no_engine() -> None:
    assert "talks without" in refusal("yes")


def test_an_engine_that_never_gets_ready_is_none(tmp_path: Path) -> None:
    assert "'uciok' in time" in refusal(fake_engine(tmp_path, "def hello(): pass"), handshake_s=0.3)


def test_an_engine_that_says_hello_late_but_in_time_is_one(tmp_path: Path) -> None:
    slow = "plain = hello\ndef hello():\n    select.select([], [], [], 0.2)\n    plain()"
    with quick(fake_engine(tmp_path, slow)) as engine:
        assert score_all(engine, GAMES[:1]) == [fake_scores(GAMES[0])]


def test_windows_line_ends_are_understood(tmp_path: Path) -> None:
    crlf = "def say(text): os.write(1, (text + '\\n').replace('\\n', '\\r\\n').encode())"
    with quick(fake_engine(tmp_path, crlf)) as engine:
        rows = score_all(engine, GAMES)
        assert "Stockfish Fake; nn-fake.nnue; Threads=1;" in engine.fingerprint
    assert [np.array(row).tolist() for row in rows] == [fake_scores(game) for game in GAMES]
