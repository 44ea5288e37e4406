import chess
import numpy as np
import pytest

from agent.search import Search, SearchResult, choose, search_many
from agent.tree import DRAW, Ending
from tests.agent.scripted_player import ScriptedPlayer

BACK_RANK = "6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1"
MATE_IN_TWO = "6k1/5ppp/8/8/8/8/1r3PPP/R2R2K1 b - - 0 1"
MORPHY = "kbK5/pp6/1P6/8/8/8/8/R7 w - - 0 1"


def found(board: chess.Board, nodes: int, batch: int = 1, **others: object) -> tuple[Search, SearchResult]:
    search = Search(ScriptedPlayer(), board, batch=batch, **others)  # type: ignore[arg-type]
    search.spend(nodes)
    return search, search.result(5)


def test_one_node_is_the_network_alone() -> None:
    player = ScriptedPlayer()
    (result,) = search_many(player, [chess.Board()], 1)
    assert player.calls == [1]
    assert result.nodes == 1
    assert result.best == next(iter(chess.Board().legal_moves))
    assert result.value == pytest.approx(0.5)
    assert [line.visits for line in result.lines] == [0] * 20


@pytest.mark.parametrize("nodes", [1, 2, 17, 100])
@pytest.mark.parametrize("batch", [1, 16])
def test_a_search_never_spends_more_nodes_than_it_may(nodes: int, batch: int) -> None:
    player = ScriptedPlayer()
    search = Search(player, chess.Board(), batch=batch)
    search.spend(nodes)
    result = search.result()
    assert result.nodes == search.nodes == nodes
    assert sum(player.calls) == nodes
    assert sum(line.visits for line in result.lines) == nodes - 1


def test_the_leaves_of_a_call_are_different_lines() -> None:
    player = ScriptedPlayer()
    search = Search(player, chess.Board(), batch=16)
    search.spend(200)
    assert max(player.calls) == 16
    leaves = search.gather(16)
    assert len({(id(leaf.path[-1][0]), leaf.path[-1][1]) for leaf in leaves}) == len(leaves) > 8


def test_mate_in_one_is_found_and_proven() -> None:
    search, result = found(chess.Board(BACK_RANK), 100)
    assert search.done
    assert result.best == chess.Move.from_uci("d1d8")
    assert result.lines[0].ending == Ending(1.0, 1)
    assert result.lines[0].mate == 1
    assert result.value == 1.0
    assert result.nodes < 40


def test_mate_in_two_is_proven_with_its_variation() -> None:
    search, result = found(chess.Board(MORPHY), 5_000, batch=8)
    assert search.done
    assert [move.uci() for move in result.lines[0].pv[:1]] == ["a1a6"]
    assert result.lines[0].mate == 2
    assert len(result.lines[0].pv) == 3


def test_the_side_that_is_mated_knows_it() -> None:
    board = chess.Board(MORPHY)
    board.push_uci("a1a6")
    search, result = found(board, 5_000)
    assert search.done
    assert result.lines[0].mate == -1
    assert result.value == 0.0


def test_a_line_without_a_forced_mate_is_left_unproven() -> None:
    _, result = found(chess.Board(), 50)
    assert all(line.mate is None for line in result.lines)


def test_a_move_that_loses_by_force_is_shunned_though_the_network_likes_it() -> None:
    board = chess.Board("6k1/6pp/8/8/8/8/5PPP/1r2R1K1 w - - 0 1")  # taking wins; leaving the back rank is mate
    _, result = found(board, 300)
    assert result.best == chess.Move.from_uci("e1b1") or result.lines[0].mate == 1
    lost = [line for line in result.lines if line.mate is not None and line.mate < 0]
    assert result.lines[: len(result.lines) - len(lost)] == tuple(line for line in result.lines if line not in lost)


def test_a_side_that_stands_better_does_not_go_where_it_has_been() -> None:
    board = chess.Board("6k1/8/8/8/8/8/8/Q5K1 w - - 0 1")
    for move in ("a1b1", "g8f8", "b1a1", "f8g8"):
        board.push_uci(move)
    search = Search(ScriptedPlayer(), board)
    search.spend(400)
    again = next(line for line in search.result().lines if line.move.uci() == "a1b1")
    assert again.ending == Ending(DRAW, 1)
    assert search.result().best != again.move


def test_third_repetition_counts_with_the_moves_of_the_game() -> None:
    board = chess.Board("7k/8/8/8/8/8/r7/7K w - - 0 1")
    for uci in ("h1g1", "a2b2", "g1h1", "b2a2") * 2:
        board.push_uci(uci)
    board.push_uci("h1g1")
    board.push_uci("a2b2")
    board.push_uci("g1h1")
    _, result = found(board, 200)  # black to move: a2 would be the third time
    repeats = next(line for line in result.lines if line.move.uci() == "b2a2")
    assert repeats.ending == Ending(DRAW, 1)
    assert repeats.mate is None
    assert result.best.uci() != "b2a2"


def test_fifty_moves_end_the_game_but_not_before_mate() -> None:
    quiet, _ = found(chess.Board("7k/8/8/8/8/8/r7/7K b - - 99 80"), 60)
    endings = [line.ending for line in quiet.result().lines]
    assert Ending(DRAW, 1) in endings
    assert quiet.done
    _, mating = found(chess.Board(BACK_RANK.replace("0 1", "99 80")), 60)
    assert mating.lines[0].mate == 1


def test_stalemate_is_a_draw() -> None:
    _, result = found(chess.Board("7k/5Q2/8/8/8/8/8/K7 w - - 0 1"), 400)
    stalemate = next(line for line in result.lines if line.move.uci() == "f7g6" or line.move.uci() == "f7f8")
    assert stalemate.move.uci() != result.best.uci()
    board = chess.Board("7k/8/6K1/8/8/8/8/5Q2 w - - 0 1")
    _, result = found(board, 400)
    assert result.lines[0].mate == 1


def test_search_moves_restrict_the_root() -> None:
    moves = [chess.Move.from_uci("a2a3"), chess.Move.from_uci("h2h3"), chess.Move.from_uci("e2e5")]
    _, result = found(chess.Board(), 50, moves=moves)
    assert {line.move.uci() for line in result.lines} == {"a2a3", "h2h3"}
    assert sum(line.prior for line in result.lines) == pytest.approx(1.0)


@pytest.mark.parametrize("fen", ["7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", "7k/6Q1/6K1/8/8/8/8/8 b - - 0 1"])
def test_no_move_to_search_is_refused(fen: str) -> None:
    with pytest.raises(ValueError, match="no move to search"):
        Search(ScriptedPlayer(), chess.Board(fen))


def test_a_search_follows_the_game() -> None:
    board = chess.Board()
    search, before = found(board, 400, batch=8)
    moves = before.lines[0].pv[:2]
    visits = before.lines[0].visits
    assert search.follow(moves)
    search.restart()
    kept = search.result()
    assert kept.nodes == 0
    assert 0 < sum(line.visits for line in kept.lines) < visits
    search.step(1)
    for move in moves:
        board.push(move)
    assert {line.move for line in search.result().lines} == set(board.legal_moves)


def test_a_move_that_was_never_looked_at_is_not_followed() -> None:
    search, result = found(chess.Board(), 2)
    assert not search.follow([result.lines[-1].move])
    restricted, _ = found(chess.Board(), 30, moves=[chess.Move.from_uci("e2e4")])
    assert not restricted.follow([chess.Move.from_uci("e2e4")])


def test_trees_in_lockstep_find_what_each_finds_alone() -> None:
    boards = [chess.Board(), chess.Board(BACK_RANK), chess.Board(MORPHY), chess.Board(MATE_IN_TWO)]
    together = search_many(ScriptedPlayer(), boards, 120, parallel=3, variations=5)
    alone = [found(board, 120)[1] for board in boards]
    assert together == alone


def test_the_same_search_finds_the_same_again() -> None:
    assert found(chess.Board(), 300, batch=16)[1] == found(chess.Board(), 300, batch=16)[1]


def test_the_board_stays_as_it_was() -> None:
    board = chess.Board()
    for uci in ("g1f3", "g8f6", "f3g1", "f6g8"):
        board.push_uci(uci)
    before, moves = board.fen(), list(board.move_stack)
    search_many(ScriptedPlayer(), [board], 50)
    found(board, 50, batch=8)
    assert board.fen() == before
    assert board.move_stack == moves


def test_a_full_memory_ends_the_search() -> None:
    search, _ = found(chess.Board(), 10_000, memory_bytes=100_000)
    assert search.done
    assert search.full_permille == 1000
    assert search.nodes < 100
    search.step(10)
    assert search.nodes < 100


def test_progress_counts_the_boards() -> None:
    told: list[int] = []
    search_many(ScriptedPlayer(), [chess.Board()] * 5, 3, parallel=2, progress=told.append)
    assert told == [2, 4, 5]


def test_temperature_spreads_the_choice_and_never_over_a_mate() -> None:
    dice = np.random.default_rng(1)
    _, result = found(chess.Board(), 100)
    assert choose(result, 0.0, dice) == result.best
    assert len({choose(result, 1.0, dice) for _ in range(200)}) > 5
    assert {choose(result, 0.01, dice) for _ in range(20)} <= {line.move for line in result.lines[:3]}
    _, mate = found(chess.Board(BACK_RANK), 100)
    assert {choose(mate, 10.0, dice) for _ in range(20)} == {mate.best}
    (alone,) = search_many(ScriptedPlayer(), [chess.Board()], 1)
    assert len({choose(alone, 1.0, dice) for _ in range(200)}) > 10
