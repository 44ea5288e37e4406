import io
import sys
from collections import Counter
from pathlib import Path

import chess
import chess.engine
import chess.pgn
import msgspec
import pytest

from arena.adjudication import Adjudication, Termination
from arena.game_record import PgnFile, PlayedGame
from arena.match import MatchResult, play_match
from arena.movers import MaterialGreedy, PolicyMover, RandomMover
from arena.openings import Opening, load_openings
from arena.opponents import UciMover
from arena.sprt import Hypothesis, Sprt
from common.errors import SettingsError
from tests.arena.players import ScoringMover, ScriptedMover, first, no_move, small_player

MATE_IN_ONE = Opening("6k1/5ppp/8/8/8/8/8/R3K3 w - - 0 1")


def mating(board: chess.Board) -> chess.Move:
    """Mate if there is one, else the first move."""
    for move in board.legal_moves:
        board.push(move)
        mate = board.is_checkmate()
        board.pop()
        if mate:
            return move
    return first(board)


class Played:
    """The games of a match, as they ended."""

    def __init__(self) -> None:
        self.games: list[PlayedGame] = []
        self.results: list[MatchResult] = []

    def __call__(self, game: PlayedGame, result: MatchResult) -> None:
        self.games.append(game)
        self.results.append(result)


def test_each_opening_is_played_once_with_either_colour() -> None:
    played = Played()
    play_match(RandomMover(1, "a"), RandomMover(2, "b"), games=20, on_game=played)
    openings = load_openings()[:10]
    by_number = sorted(played.games, key=lambda game: game.number)
    assert [game.number for game in by_number] == list(range(20))
    for game in by_number:
        assert tuple(game.board.move_stack[: game.opening_plies]) == openings[game.number // 2].moves
        assert (game.white, game.black) == (("a", "b") if game.number % 2 == 0 else ("b", "a"))


def test_a_match_is_the_same_every_time() -> None:
    def games() -> list[list[chess.Move]]:
        played = Played()
        play_match(
            MaterialGreedy(1), PolicyMover(small_player()), games=6, concurrency=4, on_game=played,
            adjudication=Adjudication(max_moves=25),
        )  # fmt: skip
        return [game.board.move_stack for game in played.games]

    assert games() == games()


def test_players_are_asked_for_all_games_in_progress_at_once() -> None:
    player, opponent = ScriptedMover(first), ScriptedMover(first)
    play_match(player, opponent, games=20, concurrency=8)
    assert player.batches[:3] == [4, 8, 8]  # the opponent begins in half of the games
    assert max(opponent.batches) == 8


def test_the_counts_agree_with_the_games() -> None:
    played = Played()
    result = play_match(MaterialGreedy(1), RandomMover(2), games=40, on_game=played)
    points = {game.number: game.half_points for game in played.games}
    assert (result.losses, result.draws, result.wins) == tuple(
        list(points.values()).count(kind) for kind in range(3)
    )
    pairs = Counter(points[number] + points[number + 1] for number in range(0, 40, 2))
    assert result.pairs == tuple(pairs[kind] for kind in range(5))
    assert result.score == sum(points.values()) / 80 == result.elo.score
    assert result.elo.paired
    assert sum(result.endings.values()) == 40
    assert result.plies == sum(len(game.board.move_stack) - game.opening_plies for game in played.games)
    assert [kept.games for kept in played.results] == list(range(1, 41))
    assert msgspec.json.decode(msgspec.json.encode(result), type=MatchResult) == result


def test_a_lopsided_opening_is_a_level_pair() -> None:
    result = play_match(ScriptedMover(mating), ScriptedMover(mating), games=2, openings=[MATE_IN_ONE])
    assert (result.wins, result.losses, result.pairs) == (1, 1, (0, 0, 1, 0, 0))
    assert result.endings == {"checkmate": 2}


def test_openings_begin_anew_when_they_run_out() -> None:
    result = play_match(ScriptedMover(mating), ScriptedMover(first), games=6, openings=[MATE_IN_ONE])
    assert (result.games, result.wins >= 3) == (6, True)


@pytest.mark.parametrize(
    ("move", "termination", "reason"),
    [
        (no_move, Termination.ABANDONED, "no move"),
        (lambda board: chess.Move.from_uci("a1a2"), Termination.RULES_INFRACTION, "illegal move a1a2"),
    ],
)
def test_a_player_without_a_legal_move_to_give_loses(move, termination: Termination, reason: str) -> None:
    played = Played()
    result = play_match(ScriptedMover(move), RandomMover(1), games=4, on_game=played)
    assert (result.losses, result.forfeits, result.opponent_forfeits) == (4, 4, 0)
    assert {game.ending.termination for game in played.games} == {termination}
    assert result.endings == {reason: 4}


def test_an_engine_that_fails_loses_that_game_and_plays_the_next() -> None:
    command = f"{sys.executable} {Path(__file__).parent / 'bad_engine.py'} crash 10"
    with UciMover(command, limit=chess.engine.Limit(nodes=1), processes=1) as engine:
        result = play_match(RandomMover(1), engine, games=4, concurrency=2)
        assert result.games == result.wins == result.opponent_forfeits == 4
        assert engine.restarts == 3
    assert next(iter(result.endings)).startswith("engine died")


def test_players_that_give_scores_can_be_adjudicated() -> None:
    result = play_match(
        ScoringMover(-900), ScoringMover(900), games=2, adjudication=Adjudication(resign_cp=800, resign_moves=2)
    )
    assert result.endings == {"the loser's own score": 2}
    assert result.losses == 2


def test_a_test_stops_the_match_as_soon_as_it_has_its_answer() -> None:
    result = play_match(
        ScriptedMover(first), ScriptedMover(no_move), games=1000, concurrency=8, sprt=Sprt(elo0=0, elo1=200)
    )
    assert result.sprt is not None
    assert result.sprt.accepted is Hypothesis.H1
    assert result.games < 60


def test_a_test_counts_pairs_in_their_order_whichever_end_first() -> None:
    """Game 0 goes on while the others are lost at once: nothing may be counted before it."""
    opening = Opening(chess.STARTING_FEN)

    def late(board: chess.Board) -> chess.Move:
        return no_move(board) if board.turn == chess.BLACK or seen else seen.append(1) or first(board)

    seen: list[int] = []
    played = Played()
    play_match(
        ScriptedMover(late), ScriptedMover(first), games=200, openings=[opening], on_game=played,
        sprt=Sprt(elo0=0, elo1=100), concurrency=100,
    )  # fmt: skip
    assert played.games[0].number != 0
    before_first = [result for game, result in zip(played.games, played.results, strict=True)]
    until = next(index for index, game in enumerate(played.games) if game.number == 0)
    assert {result.sprt.log_likelihood_ratio for result in before_first[:until]} == {0.0}


def test_a_match_that_is_stopped_keeps_what_is_done() -> None:
    played = Played()
    result = play_match(
        RandomMover(1),
        RandomMover(2),
        games=1000,
        concurrency=8,
        on_game=played,
        stopping=lambda: len(played.games) >= 10,
    )
    assert 10 <= result.games == len(played.games) < 1000
    assert result.games_wanted == 1000


def test_one_player_may_meet_itself() -> None:
    player = PolicyMover(small_player())
    assert play_match(player, player, games=2, adjudication=Adjudication(max_moves=20)).games == 2


def test_no_games_are_no_match() -> None:
    with pytest.raises(SettingsError, match="at least one game"):
        play_match(RandomMover(), RandomMover(), games=0)


def test_every_game_is_in_the_file_as_soon_as_it_is_over(tmp_path: Path) -> None:
    path, counts = tmp_path / "games.pgn", []
    with PgnFile(path) as file:

        def on_game(game: PlayedGame, result: MatchResult) -> None:
            file.add(game)
            counts.append(path.read_text().count("[Result "))

        play_match(RandomMover(1), MaterialGreedy(2), games=6, on_game=on_game)
    assert counts == [1, 2, 3, 4, 5, 6]


def test_the_file_is_what_was_played(tmp_path: Path) -> None:
    path, played = tmp_path / "games.pgn", Played()
    openings = [*load_openings()[:1], MATE_IN_ONE]
    play_match(ScriptedMover(mating, "a"), RandomMover(2, "b"), games=4, openings=openings, on_game=played)
    for _ in range(2):  # a file that is there is added to
        with PgnFile(path) as file:
            for game in played.games:
                file.add(game)
    text = io.StringIO(path.read_text())
    for game in played.games * 2:
        read = chess.pgn.read_game(text)
        assert read is not None
        assert not read.errors
        assert read.end().board().fen() == game.board.fen()
        assert read.headers["Result"] == game.ending.result
        assert read.headers["Termination"] == f"normal ({game.ending.reason})"
        assert read.headers["Round"] == f"{game.number // 2 + 1}.{game.number % 2 + 1}"
    assert chess.pgn.read_game(text) is None
