import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actor.engine import Engine
from actor.evaluations import Evaluations, game_key
from actor.labels import START_SCORE, LabelFault, Labelled, Labels, Origin
from common.settings import EvaluationSource
from tests.actor.engine_games import MadeGame, game_of
from tests.actor.fake_engine import fake_engine
from tests.actor.test_engine import fake_scores

MATE = ["f2f3", "e7e5", "g2g4", "d8h4"]
PLAIN = game_of(["e2e4", "e7e5", "g1f3"])


def commented(game: MadeGame, scores: Sequence[int | None]) -> MadeGame:
    return replace(
        game,
        comment_scores=np.array([score or 0 for score in scores], np.int16),
        has_comment_score=np.array([score is not None for score in scores], np.bool_),
    )


def finish(labels: Labels, games: Sequence[MadeGame]) -> list[Labelled]:
    tickets = labels.submit(games)
    done: dict[int, Labelled] = {}
    end = time.monotonic() + 60
    while len(done) < len(games):
        assert time.monotonic() < end
        done |= {labelled.ticket: labelled for labelled in labels.poll(1.0)}
    assert labels.outstanding == 0
    return [done[ticket] for ticket in tickets]


def scores_of(labelled: Labelled) -> list[int]:
    assert labelled.scores is not None
    assert labelled.scores.dtype == np.int16
    return labelled.scores.tolist()


def engine_at(tmp_path: Path, body: str = "") -> Engine:
    return Engine(fake_engine(tmp_path, body), nodes=1, back_off_s=0.001)


def test_comments_alone_give_the_scores_of_a_commented_game() -> None:
    labels = Labels(EvaluationSource.PGN)
    [labelled] = finish(labels, [commented(PLAIN, [None, -30, 31, -32])])
    assert scores_of(labelled) == [START_SCORE, -30, 31, -32]
    assert labelled.origin is Origin.COMMENTS
    assert labels.hungry
    assert labels.stats().commented_games == 1
    assert labels.stats().positions == 4


def test_a_comment_on_the_start_counts_before_the_start_s_fixed_score() -> None:
    [labelled] = finish(Labels(EvaluationSource.PGN), [commented(PLAIN, [7, -30, 31, -32])])
    assert scores_of(labelled)[0] == 7


def test_another_start_takes_the_score_after_the_first_move() -> None:
    game = commented(game_of(["e1e2"], "4k3/8/8/8/8/8/7R/4K3 w - - 0 1"), [None, -900])
    [labelled] = finish(Labels(EvaluationSource.PGN), [game])
    assert scores_of(labelled) == [900, -900]


def test_a_checkmate_needs_no_comment_and_is_exact_even_against_one() -> None:
    games = [commented(game_of(MATE), [None, 10, -20, 300, last]) for last in (None, 5)]
    for labelled in finish(Labels(EvaluationSource.PGN), games):
        assert scores_of(labelled) == [START_SCORE, 10, -20, 300, -32000]


def test_a_game_without_all_comments_is_rejected_where_comments_alone_count() -> None:
    labels = Labels(EvaluationSource.PGN)
    [labelled] = finish(labels, [commented(PLAIN, [None, -30, None, -32])])
    assert labelled.scores is None
    assert labelled.fault is LabelFault.NO_EVALUATION
    assert labelled.fault.value == "no-evaluation"
    assert labelled.detail == "1 of 4 positions have no evaluation, the first one after 2 plies"
    assert labels.stats().faulty_games == 1


def test_the_engine_alone_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        labels = Labels(EvaluationSource.ENGINE, engine)
        games = [commented(PLAIN, [None, -30, 31, -32]), game_of(MATE)]
        first, second = finish(labels, games)
    assert scores_of(first) == fake_scores(PLAIN)
    assert first.origin is Origin.ENGINE
    assert scores_of(second) == [*fake_scores(games[1])[:-1], -32000]
    assert labels.stats().engine_games == 2


def test_auto_asks_no_engine_for_a_commented_game(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        [labelled] = finish(Labels(EvaluationSource.AUTO, engine), [commented(PLAIN, [None, -30, 31, -32])])
        assert engine.stats().positions == 0
    assert scores_of(labelled) == [START_SCORE, -30, 31, -32]


def test_auto_lays_comments_over_the_engine_s_scores_of_the_whole_game(tmp_path: Path) -> None:
    expected = fake_scores(PLAIN)
    with engine_at(tmp_path) as engine, Evaluations.open(tmp_path / "e.db", engine.fingerprint) as store:
        labels = Labels(EvaluationSource.AUTO, engine, store)
        partly = commented(PLAIN, [None, -30, None, -32])
        first, second = finish(labels, [partly, PLAIN])
        assert engine.stats().positions == 4
        [again] = finish(labels, [partly])
        [kept] = store.get_many([game_key(None, PLAIN.moves_uci)])
    assert scores_of(first) == scores_of(again) == [expected[0], -30, expected[2], -32]
    assert scores_of(second) == expected
    assert kept is not None
    assert kept.tolist() == expected
    assert again.origin is Origin.STORE


def test_a_game_in_the_store_is_not_evaluated_again(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine, Evaluations.open(tmp_path / "e.db", engine.fingerprint) as store:
        [first] = finish(Labels(EvaluationSource.ENGINE, engine, store), [PLAIN])
        [second] = finish(Labels(EvaluationSource.ENGINE, engine, store), [PLAIN])
        assert engine.stats().positions == 4
    assert scores_of(first) == scores_of(second)
    assert (first.origin, second.origin) == (Origin.ENGINE, Origin.STORE)


def test_the_same_game_twice_at_once_is_evaluated_once(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        rows = finish(Labels(EvaluationSource.ENGINE, engine), [PLAIN, PLAIN, PLAIN])
        assert engine.stats().positions == 4
    assert [scores_of(labelled) for labelled in rows] == [fake_scores(PLAIN)] * 3


def test_a_game_that_kills_the_engine_is_rejected_with_that_reason(tmp_path: Path) -> None:
    with (
        engine_at(tmp_path, "def go(): os._exit(1)") as engine,
        Evaluations.open(tmp_path / "e.db", engine.fingerprint) as store,
    ):
        [labelled] = finish(Labels(EvaluationSource.ENGINE, engine, store), [PLAIN])
        assert store.count() == 0
    assert labelled.fault is LabelFault.ENGINE_DIED
    assert labelled.fault.value == "engine-died"
    assert labelled.detail == "the engine ended"


def test_forgotten_games_do_not_come_back(tmp_path: Path) -> None:
    with engine_at(tmp_path, "def go():\n    if starts > 1: answer()\n    else: forever()") as engine:
        labels = Labels(EvaluationSource.ENGINE, engine)
        labels.submit([PLAIN])
        labels.poll(0.0)
        labels.forget()
        assert labels.outstanding == 0
        assert labels.poll(0.0) == []
        [labelled] = finish(labels, [PLAIN])
    assert scores_of(labelled) == fake_scores(PLAIN)


def test_an_engine_is_needed_except_for_comments() -> None:
    with pytest.raises(ValueError, match="need an engine"):
        Labels(EvaluationSource.AUTO)
