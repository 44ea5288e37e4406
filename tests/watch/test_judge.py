from pathlib import Path

import chess
import pytest

from common.settings import AgentSettings, Side
from tests.agent.test_loading import fast_mlp, run_of, saved  # noqa: F401  (a fixture that is always used)
from watch.judge import Judge, NoJudge

REPLY = "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1"
AGENTS = (AgentSettings(name="white", side=Side.WHITE), AgentSettings(name="black", side=Side.BLACK))


def test_the_best_moves_come_first_with_their_figures(tmp_path: Path) -> None:
    found = Judge(run_of(tmp_path / "run", *AGENTS, trained=2), AGENTS).judge(chess.STARTING_FEN)
    (judged,) = found.agents
    assert (found.side, found.without, judged.agent, len(judged.moves)) == ("white", [], "white", 8)
    shares = [move.policy for move in judged.moves]
    assert shares == sorted(shares, reverse=True)
    assert 0.0 <= judged.value <= 1.0
    board = chess.Board()
    for move in judged.moves:
        assert board.parse_san(move.san).uci() == move.uci
        assert 0.0 <= move.prior <= 1.0
        assert -1.0 <= move.q <= 1.0


def test_new_weights_are_judged_by(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", *AGENTS, trained=2)
    judge = Judge(run, AGENTS)
    before, again = judge.judge(chess.STARTING_FEN), judge.judge(chess.STARTING_FEN)
    assert before == again
    weights = run / "agents" / "white" / "weights.safetensors"
    saved(weights.with_name("new"), 77).replace(weights)
    assert judge.judge(chess.STARTING_FEN).agents[0].moves != before.agents[0].moves


def test_without_weights_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoJudge, match="the agent white has no weights yet"):
        Judge(tmp_path, AGENTS).judge(chess.STARTING_FEN)


def test_one_colour_without_weights_leaves_the_other_one_judged_by_its_own(tmp_path: Path) -> None:
    judge = Judge(run_of(tmp_path / "run", *AGENTS, trained=1), AGENTS)
    assert [judged.agent for judged in judge.judge(chess.STARTING_FEN).agents] == ["white"]
    with pytest.raises(NoJudge, match="the agent black has no weights yet"):
        judge.judge(REPLY)
    with pytest.raises(NoJudge, match="no agent of this run plays black"):
        Judge(tmp_path / "run", AGENTS[:1]).judge(REPLY)
    with pytest.raises(NoJudge, match="as white here, the run's --settings tell"):
        Judge(tmp_path / "run", AGENTS[1:]).judge(chess.STARTING_FEN)


def test_all_agents_of_a_side_are_asked_in_a_run_that_is_only_files_of_weights(tmp_path: Path) -> None:
    names = {"first": Side.WHITE, "other": Side.BLACK, "both": Side.BOTH, "late": Side.WHITE}
    agents = [AgentSettings(name=name, side=side) for name, side in names.items()]
    for seed, agent in enumerate(agents[:3]):
        saved(tmp_path / "agents" / agent.name / "weights.safetensors", seed)
    found = Judge(tmp_path, agents).judge(chess.STARTING_FEN)
    assert [judged.agent for judged in found.agents] == ["first", "both"]
    assert found.agents[0].moves != found.agents[1].moves
    assert found.without == ["late"]
    assert [judged.agent for judged in Judge(tmp_path, agents).judge(REPLY).agents] == ["other", "both"]


@pytest.mark.parametrize(
    "fen", ["", "nonsense", "8/8/8/8/8/8/8/8 w - - 0 1", "7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", "x" * 10_000]
)
def test_what_is_no_position_is_refused(tmp_path: Path, fen: str) -> None:
    with pytest.raises(ValueError):
        Judge(tmp_path, AGENTS).judge(fen)
