import queue
import threading
from collections.abc import Iterator

import chess
import pytest

from agent.player import Judgement, Player
from arena.uci_engine import UciEngine
from arena.uci_options import Options
from common.errors import StoreError
from tests.arena.uci_process import small_player

WAIT_S = 30


class Gui:
    """The other end of the protocol, in the same process."""

    def __init__(self, engine: UciEngine, said: "queue.Queue[str]") -> None:
        self.engine, self.said = engine, said

    def tell(self, *lines: str) -> None:
        for line in lines:
            assert self.engine.handle(line)

    def until(self, start: str) -> list[str]:
        """Return what is said up to a line that begins with `start`."""
        lines = [self.said.get(timeout=WAIT_S)]
        while not lines[-1].startswith(start):
            lines.append(self.said.get(timeout=WAIT_S))
        return lines

    def best(self, *lines: str) -> str:
        self.tell(*lines)
        return self.until("bestmove")[-1].split()[1]

    def quiet(self) -> bool:
        """Tell whether nothing was said up to now."""
        self.tell("isready")
        return self.until("readyok") == ["readyok"]


@pytest.fixture(scope="module")
def player() -> Player:
    return small_player()


@pytest.fixture
def gui(player: Player) -> Iterator[Gui]:
    said: queue.Queue[str] = queue.Queue()
    with UciEngine(lambda: player, said.put) as engine:
        yield Gui(engine, said)


def test_engine_introduces_itself(gui: Gui) -> None:
    gui.tell("uci")
    lines = gui.until("uciok")
    assert lines[0].startswith("id name Rookery")
    names = {line.split(" type ")[0].removeprefix("option name ") for line in lines if line.startswith("option")}
    assert names >= {"Hash", "MultiPV", "Nodes", "Temperature", "Seed", "Ponder", "UCI_ShowWDL", "Move Overhead"}


def test_info_tells_all_that_it_should(gui: Gui) -> None:
    gui.tell(
        "setoption name UCI_ShowWDL value true",
        "setoption name MultiPV value 3",
        "position startpos",
        "go nodes 60",
    )
    infos = [line.split() for line in gui.until("bestmove") if line.startswith("info depth")]
    assert [words[words.index("multipv") + 1] for words in infos[-3:]] == ["1", "2", "3"]
    for words in infos[-3:]:
        for key in ("depth", "seldepth", "score", "wdl", "nodes", "nps", "hashfull", "time", "pv"):
            assert key in words
        at = words.index("wdl")
        assert sum(map(int, words[at + 1 : at + 4])) == 1000
        assert words[words.index("nodes") + 1] == "60"


def test_one_node_is_the_network_alone(gui: Gui, player: Player) -> None:
    (judgement,) = player.judge([chess.Board()])
    assert gui.best("position startpos", "go nodes 1") == judgement.best.uci()
    assert gui.best("setoption name Nodes value 1", "go wtime 60000 btime 60000") == judgement.best.uci()


def test_moves_of_a_game_are_followed(gui: Gui) -> None:
    board = chess.Board()
    for _ in range(12):
        move = gui.best(f"position startpos moves {' '.join(m.uci() for m in board.move_stack)}", "go nodes 20")
        board.push(board.parse_uci(move))


def test_search_moves_restrict_the_choice(gui: Gui) -> None:
    assert gui.best("position startpos", "go nodes 30 searchmoves a2a3") == "a2a3"
    assert gui.best("go searchmoves h2h4 e2e5 zz nodes 30") == "h2h4"
    assert gui.best("go nodes 30 searchmoves e2e5") in {move.uci() for move in chess.Board().legal_moves}


def test_mate_is_scored_as_mate(gui: Gui) -> None:
    gui.tell("position fen 6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1", "go mate 1")
    lines = gui.until("bestmove")
    assert lines[-1] == "bestmove d1d8"
    assert " score mate 1 " in lines[-2]


def test_depth_ends_a_search(gui: Gui) -> None:
    gui.tell("position startpos", "go depth 3")
    assert " depth 3 " in gui.until("bestmove")[-2]


@pytest.mark.parametrize("fen", ["7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", "7k/6Q1/6K1/8/8/8/8/8 b - - 0 1"])
def test_game_that_is_over_has_no_move(gui: Gui, fen: str) -> None:
    assert gui.best(f"position fen {fen}", "go wtime 1000 btime 1000") == "(none)"


def test_infinite_search_waits_for_stop_even_when_all_is_proven(gui: Gui) -> None:
    gui.tell("position fen 6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1", "go infinite")
    while " score mate 1 " not in gui.until("info depth")[-1]:
        pass
    assert gui.quiet()
    assert gui.best("stop") == "d1d8"


def test_stop_before_anything_was_found_still_gives_a_move(gui: Gui) -> None:
    for _ in range(20):
        assert (
            chess.Move.from_uci(gui.best("position startpos", "go infinite", "stop")) in chess.Board().legal_moves
        )
    gui.tell("stop")
    assert gui.quiet()


def test_pondering_ends_only_after_ponderhit(gui: Gui) -> None:
    gui.tell("position startpos moves e2e4", "setoption name Ponder value true", "setoption name Nodes value 10")
    gui.tell("go ponder wtime 1000 btime 1000")
    gui.until("info depth")
    assert gui.quiet()
    gui.tell("ponderhit")
    words = gui.until("bestmove")[-1].split()
    assert words[2] == "ponder"
    gui.tell("go ponder wtime 1000 btime 1000")
    gui.best("stop")


def test_a_second_go_ends_the_first(gui: Gui) -> None:
    gui.tell("position startpos", "go infinite", "position startpos moves e2e4", "go nodes 5")
    first, second = (gui.until("bestmove")[-1].split()[1] for _ in range(2))
    assert chess.Move.from_uci(first) in chess.Board().legal_moves
    board = chess.Board()
    board.push_uci("e2e4")
    assert chess.Move.from_uci(second) in board.legal_moves


@pytest.mark.parametrize(
    "clock", ["wtime 0 btime 0", "wtime -50 btime -50", "movetime 0", "wtime 1 btime 1 movestogo 0"]
)
def test_no_time_left_gives_a_move_at_once(gui: Gui, clock: str) -> None:
    gui.tell("position startpos", f"go {clock}")
    assert " nodes 1 " in gui.until("bestmove")[-2]


def test_illegal_position_keeps_the_last_legal_one(gui: Gui) -> None:
    gui.tell("position startpos moves e2e4")
    for fen in (
        "junk",
        "8/8/8/8/8/8/8/8 w - - 0 1",
        "kk6/8/8/8/8/8/8/K7 w - - 0 1",
        "k6R/8/8/8/8/8/8/K7 w - - 0 1",
        "",
        "P6k/8/8/8/8/8/8/K7 w - - 0 1",
    ):
        gui.tell(f"position fen {fen}")
        assert gui.until("info string")[-1].startswith("info string")
    move = chess.Move.from_uci(gui.best("go nodes 5"))
    board = chess.Board()
    board.push_uci("e2e4")
    assert move in board.legal_moves


def test_illegal_move_keeps_the_moves_before_it(gui: Gui) -> None:
    gui.tell("position startpos moves e2e4 e2e4 e7e5")
    assert "illegal move 'e2e4'" in gui.until("info string")[-1]
    board = chess.Board()
    board.push_uci("e2e4")
    assert chess.Move.from_uci(gui.best("go nodes 5")) in board.legal_moves


def test_positions_that_are_merely_odd_are_played(gui: Gui) -> None:
    for fen in (
        "kr6/pp6/8/8/8/8/8/QQQQQQQK w KQkq e3 0 1",
        "4k3/8/8/8/8/8/8/4K3 w KQkq - 0 1",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq a6 5000 70000",
    ):
        board = chess.Board(fen)
        board.castling_rights = board.clean_castling_rights()
        assert chess.Move.from_uci(gui.best(f"position fen {fen}", "go nodes 10")) in board.legal_moves


@pytest.mark.parametrize(
    "line",
    [
        "", "   ", "\t", "\x00", "hello", "go nodes", "setoption", "setoption name", "setoption name Hash",
        "setoption name Hash value", "setoption name Hash value x", "setoption name Hash value 0",
        "setoption name Temperature value nan", "setoption name Nothing value 1", "setoption value 1 name Hash",
        "setoption name MultiPV value 9999999999999999999999", "position", "position fen",
        "position startpos moves", "position startpos moves 0000", "position startpos moves e1e1 \ufffd",
        "position moves e2e4", "register later", "ponderhit", "debug", "debug off", "ucinewgame",
        "position fen " + "8/" * 5000, "x" * 100_000, "Ⅷ ² go² ٣",
        "setoption name Nodes value ٣٠", "setoption name Clear Hash",
    ],
)  # fmt: skip
def test_nonsense_does_no_harm(gui: Gui, line: str) -> None:
    gui.tell("position startpos", line)
    if not line.startswith("go"):
        gui.tell("position startpos", "go nodes 3")
    else:
        gui.tell("stop")
    assert chess.Move.from_uci(gui.until("bestmove")[-1].split()[1]) in chess.Board().legal_moves


def test_words_before_a_command_are_skipped_and_told_when_debugging(gui: Gui) -> None:
    gui.tell("debug on", "joho isready")
    assert gui.until("readyok") == ["info string ignored 'joho'", "readyok"]


def test_quit_ends_the_session_in_mid_search(gui: Gui) -> None:
    gui.tell("position startpos", "go infinite")
    assert not gui.engine.handle("quit")


def test_temperature_makes_games_differ_and_a_seed_repeats_them(player: Player) -> None:
    def first_moves(seed: int) -> list[str]:
        said: queue.Queue[str] = queue.Queue()
        with UciEngine(lambda: player, said.put, Options(temperature=2.0, seed=seed)) as engine:
            gui = Gui(engine, said)
            return [gui.best("ucinewgame", "position startpos", "go nodes 20") for _ in range(10)]

    assert first_moves(1) == first_moves(1) != first_moves(2)
    assert len(set(first_moves(1))) > 2


def test_a_search_that_fails_still_moves() -> None:
    class Failing(Player):
        def judge(self, boards: object) -> list[Judgement]:
            if failing:
                raise RuntimeError("no memory")
            return super().judge(boards)  # type: ignore[arg-type]

    failing = False
    player = small_player()
    said: queue.Queue[str] = queue.Queue()
    with UciEngine(lambda: Failing(player._networks), said.put) as engine:
        gui = Gui(engine, said)
        assert gui.quiet()
        failing = True
        assert chess.Move.from_uci(gui.best("position startpos", "go nodes 20")) in chess.Board().legal_moves
        failing = False
        assert chess.Move.from_uci(gui.best("go nodes 20")) in chess.Board().legal_moves


def test_a_player_that_cannot_be_loaded_is_told_to_whoever_needs_it() -> None:
    def load() -> Player:
        raise StoreError("weights: torn")

    told = threading.Event()
    said: queue.Queue[str] = queue.Queue()
    with UciEngine(load, said.put, failed=told.set) as engine:
        assert engine.handle("uci")
        assert told.wait(WAIT_S)
        with pytest.raises(StoreError, match="torn"):
            engine.handle("isready")
