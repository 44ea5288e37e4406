import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chess
import chess.engine
import numpy as np
import pytest

from actor.engine import Engine
from actor.evaluations import Evaluations
from actor.games import read_games
from actor.judges import Judges
from actor.labels import Labels
from actor.prober import BACKLOG_MAX, BOARDS_AT_ONCE, GROUP_MAX, Prober, drawn_move, picked_plies
from actor.work import Desk, FinishedUnit
from agent.player import Judgement, judge
from common.batch import GAME_SIDES, decode, encode
from common.moves import to_uci
from common.probes import NO_REPLY
from common.scores import expected_score_exact, from_centipawns, from_mate
from common.settings import AgentSettings, EvaluationSource, Reward, Settings, Side
from common.transitions import probe_transitions, transitions
from tests.actor.engine_games import boards_of
from tests.actor.fake_engine import fake_engine
from tests.actor.judging import Chooser, judges_of, random_network
from tests.actor.oracle import cut, raw_games, read_bytes

NODES = 60
BOTH = AgentSettings(name="both", side=Side.BOTH)
WHITE = AgentSettings(name="white", side=Side.WHITE)
BLACK = AgentSettings(name="black", side=Side.BLACK)
TEXTS = [
    b"1. f3 e5 2. g4 Qh4# 0-1",
    b"1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Bxc6 dxc6 5. O-O f6 6. d4 exd4 7. Nxd4 c5 8. Nb3 Qxd1 1/2-1/2",
    b'[FEN "4k3/2p5/8/1P6/8/8/p6P/4K3 b - - 0 40"]\n\n40... c5 41. bxc6 a1=Q+ 42. Kf2 Qd4+ 0-1',
    b"1. Nf3 Nf6 2. Ng1 Ng8 3. Nf3 Nf6 4. Ng1 Ng8 5. Nf3 Nf6 6. g3 1/2-1/2",
    b'[FEN "6k1/5ppp/8/8/8/8/8/R6K w - - 0 1"]\n\n1. Ra7 h6 2. Ra8+ Kh7 *',
    b'[FEN "7k/8/8/8/8/8/6p1/6BK w - - 0 1"]\n\n1. Kxg2 Kg7 *',
]


def settings_of(**changes: Any) -> Settings:
    own = {"probe_rate": 1.0, "probe_exploration": 0.0}
    return Settings(**{"nodes": NODES, "agents": (WHITE, BLACK), "seed": 5} | own | changes)


def desk_of(engine: Engine, settings: Settings, judges: Judges, store: Evaluations | None = None) -> Desk:
    labels = Labels(settings.evals, engine, store)
    return Desk(labels, engine, settings.evals, Prober(settings, labels, judges))


def finish(desk: Desk, units: int = 1) -> list[FinishedUnit]:
    end_s = time.monotonic() + 60
    finished: list[FinishedUnit] = []
    while len(finished) < units:
        assert time.monotonic() < end_s, "the desk doesn't finish"
        finished += desk.poll(0.05)
    assert not desk.units
    return finished


@pytest.fixture
def engine(stockfish: str) -> Iterator[Engine]:
    with Engine(stockfish, nodes=NODES) as engine:
        yield engine


# The oracle: python-chess and an engine asked one thing at a time -------------------------------------


def score_of(score: chess.engine.PovScore, side: chess.Color) -> int:
    seen = score.pov(side)
    mate = seen.mate()
    return from_centipawns(seen.score()) if mate is None else from_mate(mate)


def end_of(board: chess.Board, side: chess.Color) -> int | None:
    """The score of a game that is over, from `side`; None for one that is not."""
    if not board.is_game_over():
        return None
    return 0 if not board.is_checkmate() else (32000 if board.turn != side else -32000)


class Asked:
    """An engine asked one position at a time: one group's positions after another, from an empty hash."""

    def __init__(self, engine: chess.engine.SimpleEngine) -> None:
        self._engine = engine

    def ask(self, board: chess.Board, game: object) -> tuple[chess.engine.PovScore, chess.Move]:
        limit = chess.engine.Limit(nodes=NODES)
        played = self._engine.play(board, limit, game=game, info=chess.engine.INFO_SCORE)
        assert played.move is not None
        return played.info["score"], played.move


@pytest.mark.parametrize("agent", [BOTH, WHITE, BLACK], ids=lambda agent: agent.name)
def test_probes_are_what_python_chess_and_an_engine_asked_alone_make_of_the_moves(
    engine: Engine, stockfish: str, agent: AgentSettings
) -> None:
    desk = desk_of(engine, settings_of(agents=(agent,), probe_temperature=2.0), judges_of(agent.name))
    desk.begin(4, [agent], raw_games(TEXTS))
    (finished,) = finish(desk)
    batch = decode(encode(finished.batches[0]))
    rows, probes = transitions(batch, Reward.SHAPED), probe_transitions(batch, Reward.SHAPED)
    assert probes.rows.tolist() == list(range(len(batch)))  # every row is probed
    boards = {
        (game.number, ply): board for game in read_games(raw_games(TEXTS), comments=False)[0]
        for ply, board in enumerate(boards_of(game))
    }  # fmt: skip
    with chess.engine.SimpleEngine.popen_uci(stockfish) as oracle:
        oracle.configure({"Threads": 1, "Hash": 16})
        asked = Asked(oracle)
        for number in sorted(set(rows.game_numbers.tolist())):
            of_game = np.flatnonzero(rows.game_numbers[probes.rows] == number)
            of_game = of_game[np.argsort(rows.plies[probes.rows[of_game]])].tolist()
            made = {at: boards[number, rows.plies[probes.rows[at]]].copy() for at in of_game}
            colours = {at: made[at].turn for at in of_game}
            sides = {at: (Side.WHITE, Side.BLACK) if made[at].turn else (Side.BLACK, Side.WHITE) for at in of_game}
            scores = {}
            for at, board in made.items():  # the positions after the moves
                side, other = sides[at]
                assert GAME_SIDES[rows.sides[probes.rows[at]]] is side
                board.push_uci(to_uci(int(probes.actions[at]), side))  # raises unless legal
                assert probes.after_positions.to_fen(at, other, board.fullmove_number) == board.fen()
            for at, board in made.items():
                end = end_of(board, colours[at])
                scores[at] = end
                if end is None:
                    said, reply = asked.ask(board, f"after {number}")
                    scores[at] = score_of(said, colours[at])
                    assert to_uci(int(batch.probes.replies[at]), sides[at][1]) == reply.uci()
                    board.push(reply)
                    assert probes.next_positions.to_fen(at, sides[at][0], board.fullmove_number) == board.fen()
                else:
                    assert batch.probes.replies[at] == NO_REPLY
                    assert not probes.next_positions.boards[at].any()
            assert batch.probes.after_scores[of_game].tolist() == list(scores.values())
            for at, board in made.items():  # those after the replies
                if probes.has_next[at]:
                    end = end_of(board, colours[at])
                    given = score_of(asked.ask(board, f"next {number}")[0], colours[at]) if end is None else end
                    scores[at] = given
                assert probes.ended[at] == board.is_game_over()
                assert batch.probes.scores[at] == scores[at]
                worth, before = expected_score_exact(
                    np.array([scores[at], batch.scores[probes.rows[at]]], np.int16)
                )
                assert probes.rewards[at] == np.float32(worth - before)
    assert set(probes.versions.tolist()) == {3}
    assert probes.has_next.tolist() == (batch.probes.replies != NO_REPLY).tolist()
    assert desk.stats().probes == len(probes)
    if agent is BOTH:
        assert probes.ended.any()
        assert not probes.ended.all()


# What a probe's scores follow from --------------------------------------------------------------------


def test_probes_of_a_game_do_not_depend_on_the_games_beside_it(engine: Engine, shared_data: Path) -> None:
    raw = raw_games(cut(read_bytes(shared_data / "games" / "games-a.pgn.zst"))[:6])
    longest = max(raw, key=lambda game: len(game.text))
    settings = settings_of(agents=(BOTH,))
    found = []
    for part in (raw, [longest]):
        desk = desk_of(engine, settings, judges_of("both"))
        desk.begin(0, [BOTH], part)
        batch = finish(desk)[0].batches[0]
        probes = batch.probes
        of_game = np.repeat(batch.game_numbers, batch.game_rows)[probes.rows] == longest.number
        names = ("actions", "after_scores", "replies", "scores", "ended")
        found.append([getattr(probes, name)[of_game].tolist() for name in names])
    assert found[0] == found[1]
    assert len(found[0][0]) > 2 * GROUP_MAX  # more than go together


def test_scores_of_games_are_the_same_with_probes_and_without(engine: Engine) -> None:
    plain = Desk(Labels(EvaluationSource.ENGINE, engine), engine, EvaluationSource.ENGINE)
    plain.begin(0, [WHITE, BLACK], raw_games(TEXTS))
    expected = finish(plain)[0].batches
    probing = desk_of(engine, settings_of(), judges_of("white", "black"))
    probing.begin(0, [WHITE, BLACK], raw_games(TEXTS))
    for without, batch in zip(expected, finish(probing)[0].batches, strict=True):
        assert len(batch.probes) == len(batch)
        none = dataclasses.replace(batch, probes=without.probes)
        assert encode(none) == encode(without)


def test_the_choice_of_positions_follows_from_seed_agent_and_game_alone() -> None:
    games, _ = read_games(raw_games(TEXTS), comments=False)
    game = games[1]
    picked, draws = picked_plies(5, BOTH, game, 0.5)
    again, same = picked_plies(5, BOTH, game, 0.5)
    assert picked.tolist() == again.tolist()
    assert draws.tolist() == same.tolist()
    more, _ = picked_plies(5, BOTH, game, 0.8)
    assert (more | ~picked).all()
    others = [(6, BOTH, game), (5, WHITE, game), (5, BOTH, dataclasses.replace(game, number=99))]
    assert all(picked_plies(*other, 0.5)[0].tolist() != picked.tolist() for other in others)
    assert picked_plies(5, BOTH, game, 1.0)[0].all()
    assert not picked_plies(5, BOTH, game, 0.0)[0].any()
    for agent, first in ((WHITE, 0), (BLACK, 1)):
        assert np.flatnonzero(picked_plies(5, agent, game, 1.0)[0]).tolist() == list(range(first, len(game), 2))
    black_first, _ = picked_plies(5, BLACK, games[2], 1.0)
    assert np.flatnonzero(black_first).tolist() == [0, 2, 4]


def judgement(*policy: float) -> Judgement:
    moves = tuple(chess.Board().legal_moves)[: len(policy)]
    shares = np.array(policy, np.float32)
    return Judgement(value=0.5, moves=moves, priors=shares, action_values=shares, policy=shares)


def test_moves_are_drawn_from_the_policy_at_a_temperature() -> None:
    seen = judgement(0.1, 0.6, 0.0, 0.3)
    draws = np.linspace(0.0, 1.0, 2000, endpoint=False)

    def shares(temperature: float) -> list[float]:
        drawn = [seen.moves.index(drawn_move(seen, temperature, 0.0, draw)) for draw in draws.tolist()]
        return (np.bincount(drawn, minlength=4) / len(drawn)).tolist()

    assert shares(0.0) == [0, 1, 0, 0]
    assert shares(1.0) == pytest.approx([0.1, 0.6, 0.0, 0.3], abs=0.002)
    squares = np.array([0.01, 0.36, 0.0, 0.09])
    assert shares(0.5) == pytest.approx((squares / squares.sum()).tolist(), abs=0.002)
    assert shares(0.001) == [0, 1, 0, 0]


def test_a_share_of_the_moves_is_drawn_from_all_legal_ones_alike() -> None:
    seen = judgement(0.1, 0.6, 0.0, 0.3)
    draws = np.linspace(0.0, 1.0, 2000, endpoint=False).tolist()

    def shares(exploration: float) -> list[float]:
        drawn = [seen.moves.index(drawn_move(seen, 1.0, exploration, draw)) for draw in draws]
        return (np.bincount(drawn, minlength=4) / len(drawn)).tolist()

    assert shares(1.0) == [0.25, 0.25, 0.25, 0.25]
    assert shares(0.4) == pytest.approx([0.16, 0.46, 0.1, 0.28], abs=0.002)


# What can be in the way -------------------------------------------------------------------------------


def test_a_unit_without_weights_is_not_probed_and_is_counted(engine: Engine) -> None:
    desk = desk_of(engine, settings_of(), judges_of("black"))
    desk.begin(0, [WHITE, BLACK], raw_games(TEXTS))
    white, black = finish(desk)[0].batches
    assert (len(white.probes), len(black.probes)) == (0, len(black))
    assert desk.stats().units_unprobed == 1
    desk.renew("white", 8, "mlp", {})
    desk.begin(1, [WHITE], raw_games(TEXTS))
    assert set(finish(desk)[0].batches[0].probes.versions.tolist()) == {8}


def test_probes_of_games_that_the_agent_does_not_learn_from_are_left_out(engine: Engine) -> None:
    agent = AgentSettings(name="white", side=Side.WHITE, where="WhiteElo > 2200")
    texts = [b'[WhiteElo "2500"]\n\n' + TEXTS[1], b'[WhiteElo "1500"]\n\n' + TEXTS[0], b"1. e4 e5 2. Ke3 1-0"]
    desk = desk_of(engine, settings_of(agents=(agent,)), judges_of("white"))
    desk.begin(0, [agent], raw_games(texts))
    batch = decode(encode(finish(desk)[0].batches[0]))
    assert (batch.game_numbers.tolist(), len(batch.probes)) == ([0], len(batch))


def test_a_reply_that_is_none_drops_the_probe_and_keeps_the_unit(tmp_path: Path) -> None:
    with Engine(fake_engine(tmp_path), nodes=NODES) as engine:  # its best move is always a1a1
        desk = desk_of(engine, settings_of(), Chooser(0))  # type: ignore[arg-type]
        desk.begin(0, [WHITE], raw_games(TEXTS[1:2]))
        batch = finish(desk)[0].batches[0]
    assert (len(batch), len(batch.probes)) == (8, 0)
    assert (desk.stats().probes, desk.stats().probes_failed) == (0, 8)


def test_a_position_on_which_the_engine_dies_drops_the_probe_alone(tmp_path: Path) -> None:
    """The engine of this test ends where white has gone to a4."""
    body = """
def go():
    if position.split("/")[4].startswith("P"):
        os._exit(1)
    say(f"info score cp 5 nodes 1\\nbestmove {'e7e5' if ' b ' in position else 'd2d4'}")
"""
    with Engine(fake_engine(tmp_path, body), nodes=NODES, back_off_s=0.001) as engine:
        desk = desk_of(engine, settings_of(agents=(WHITE,)), Chooser(-1))  # type: ignore[arg-type]
        desk.begin(0, [WHITE], raw_games([b"1. e4 d6 2. d4 *"]))
        batch = finish(desk)[0].batches[0]
        assert (len(batch), len(batch.probes)) == (2, 0)
    assert (desk.stats().probes, desk.stats().probes_failed, desk.stats().rejected) == (0, 2, 0)


def test_thinking_goes_in_pieces_and_stops_where_too_many_units_wait(engine: Engine) -> None:
    chooser = Chooser(0)
    desk = desk_of(engine, settings_of(agents=(BOTH,)), chooser)  # type: ignore[arg-type]
    long = b"1. Nf3 Nf6 2. Ng1 Ng8 " * 20 + b"1/2-1/2"
    for unit in range(BACKLOG_MAX):
        assert desk.hungry
        desk.begin(unit, [BOTH], raw_games([long]))
    assert not desk.hungry
    assert chooser.pieces == []  # the games are put to the engine before anything is thought
    finish(desk, BACKLOG_MAX)
    assert BOARDS_AT_ONCE <= max(chooser.pieces) < BOARDS_AT_ONCE + GROUP_MAX
    assert sum(chooser.pieces) == 80 * BACKLOG_MAX


def test_weights_that_are_none_of_the_network_leave_the_ones_before_in_use(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    judges = Judges()
    network = random_network()
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    judges.renew("white", 1, "mlp", arrays)
    first = judges.latest("white")
    assert first is not None
    boards = [chess.Board()]
    assert first.judge(boards)[0].best == judge(network, boards)[0].best
    for name, bad in (("table", arrays), ("mlp", {"w": np.zeros(3, np.float32)})):
        judges.renew("white", 2, name, bad)
        assert judges.latest("white") is first
    assert "weights not usable" in caplog.text
    judges.renew("white", 3, "mlp", arrays)
    latest = judges.latest("white")
    assert latest is not None
    assert latest.version == 3
    assert judges.latest("black") is None


def test_forgetting_drops_the_probes_under_way(engine: Engine) -> None:
    desk = desk_of(engine, settings_of(), judges_of("white", "black"))
    desk.begin(0, [WHITE, BLACK], raw_games(TEXTS))
    list(desk.poll(0.0))
    desk.forget()
    assert not desk.units
    desk.begin(0, [WHITE], raw_games(TEXTS))
    batch = finish(desk)[0].batches[0]
    assert len(batch.probes) == len(batch)


def test_games_from_the_store_are_probed_all_the_same(engine: Engine, tmp_path: Path) -> None:
    batches = []
    with Evaluations.open(tmp_path / "e.db", engine.fingerprint) as store:
        for _ in range(2):
            desk = desk_of(engine, settings_of(), judges_of("white"), store)
            desk.begin(0, [WHITE], raw_games(TEXTS))
            batches.append(encode(finish(desk)[0].batches[0]))
    assert desk.stats().cached_games == len(TEXTS)
    assert batches[0] == batches[1]
