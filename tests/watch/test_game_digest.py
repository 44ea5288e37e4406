"""The board's transitions are those that the learner makes of the same game."""

import logging

import chess
import msgspec
import numpy as np
import pytest

from actor.game_sample import record_game
from actor.transitions import make_batch
from common.batch import GAME_SIDES
from common.log_lines import LogLine, line_of
from common.logs import message_of
from common.scores import MATE
from common.settings import Reward, Settings, Side
from common.transitions import END, transitions
from tests.actor.oracle import raw_games
from tests.actor.test_transitions import BLACK, BOTH, TEXTS, WHITE, made_up_scores, read
from watch.game_digest import GameDigest, digest, shown


def samples(caplog: pytest.LogCaptureFixture, agents: list[str]) -> list[LogLine]:
    """The log lines that an actor would write of TEXTS, each game scored as `made_up_scores` does."""
    games = read(TEXTS)
    with caplog.at_level(logging.DEBUG, logger="trace"):
        for raw, game, scores in zip(raw_games(TEXTS), games, made_up_scores(games), strict=True):
            assert record_game(7, agents, raw, game, scores)
    return [line_of(message_of(record, "actor-0.5e55", 0)) for record in caplog.records if record.name == "trace"]


@pytest.mark.parametrize("reward", Reward)
@pytest.mark.parametrize("players", [(WHITE, BLACK), (BOTH,), (BLACK,)], ids=["two", "both", "black"])
def test_transitions_are_those_of_the_learner(caplog, players, reward) -> None:
    settings = Settings(agents=players, reward=reward)
    found = [digest(line, settings) for line in samples(caplog, [agent.name for agent in players])]
    games = read(TEXTS)
    seen = 0
    for agent in players:
        rows = transitions(make_batch(7, agent, games, made_up_scores(games), []), reward)
        for row in range(len(rows)):
            made = found[int(rows.game_numbers[row])].plies[int(rows.plies[row])].transition
            assert made is not None
            seen += 1
            assert (made.agent, made.action) == (agent.name, rows.actions[row])
            assert made.w == pytest.approx(rows.expected_scores[row], abs=2e-6)
            assert made.reward == pytest.approx(rows.rewards[row], abs=2e-6)
            assert (made.terminated, made.truncated) == (rows.terminated[row], rows.truncated[row])
            assert (made.next_ply is None) == (rows.next_rows[row] == END)
            assert GAME_SIDES[rows.sides[row]] is (Side.WHITE if made_by_white(found, rows, row) else Side.BLACK)
    assert seen == sum(ply.transition is not None for game in found for ply in game.plies)


def made_by_white(found: list[GameDigest], rows: object, row: int) -> bool:
    return chess.Board(found[int(rows.game_numbers[row])].plies[int(rows.plies[row])].fen).turn


def test_a_game_is_told_ply_by_ply(caplog) -> None:
    game = digest(samples(caplog, ["white", "black"])[0], Settings())
    assert (game.unit, game.game, game.result, game.actor, game.agents) == (
        7,
        0,
        "1-0",
        "actor-0",
        ["white", "black"],
    )
    assert [ply.san for ply in game.plies] == ["e4", "e5", "Nf3", "Nc6", "Bb5"]
    assert [ply.score for ply in game.plies] == ["+0.00", "+0.01", "+0.02", "+0.03", "+0.04"]
    assert game.plies[1].expected_white == pytest.approx(0.5009, abs=1e-4)
    assert [ply.transition.next_ply for ply in game.plies if ply.transition] == [2, 3, 4, None, None]
    assert game.final.fen.startswith("r1bqkbnr/pppp1ppp/2n5/1B2p3/")
    mated = digest(samples(caplog, ["white"])[-1], Settings())
    assert (mated.final.score, mated.final.expected_white) == ("#", 0.0)
    assert mated.plies[1].transition is None  # nobody learns from black's moves


def test_scores_read_as_people_write_them() -> None:
    assert [shown(score) for score in (34, -150, MATE - 3, 2 - MATE, MATE, -MATE, 0)] == [
        "+0.34", "-1.50", "#3", "#-2", "#", "#", "+0.00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"moves": "0000"}, {"moves": "0000", "scores": "1 2"},
        {"moves": "e2e5"}, {"moves": "e2e4"}, {"scores": "1 2 3"}, {"start_fen": "nonsense"}, {"moves": "zz"},
        {"scores": "x " * 6}, {"moves": "e2e4 " * 3000, "scores": "1 " * 3001},
    ],
)  # fmt: skip
def test_what_is_no_game_is_refused(caplog, changes) -> None:
    line = samples(caplog, ["white"])[0]
    spoilt = msgspec.structs.replace(line, attributes={**line.attributes, **changes})
    with pytest.raises(ValueError):
        digest(spoilt, Settings())


def test_mates_come_through(caplog) -> None:
    line = samples(caplog, ["white", "black"])[2]
    moves = msgspec.structs.replace(line, attributes={**line.attributes, "scores": "m3 m-2"})
    game = digest(moves, Settings())
    assert (game.plies[0].score, game.final.score) == ("#3", "#-2")
    assert np.isclose(game.plies[0].transition.w, game.plies[0].expected_white, atol=1e-4)
