import chess.engine
import numpy as np
import pytest

from common import scores


def codes(*values: int) -> np.ndarray:
    return np.array(values, np.int16)


def test_centipawns_are_their_own_score_and_are_clipped():
    assert scores.from_uci("cp", -37) == -37
    assert scores.from_uci("cp", 20001) == 20000
    assert scores.from_uci("cp", -(10**9)) == -20000


def test_mates_count_down_from_32000_for_either_side():
    assert scores.from_uci("mate", 1) == 31999
    assert scores.from_uci("mate", -3) == -31997
    assert scores.from_uci("mate", 0) == scores.CHECKMATED == -32000


def test_the_longest_mates_stay_beyond_every_centipawn_score():
    assert scores.from_mate(10**6) == 20001
    assert scores.from_mate(-(10**6)) == -20001


def test_an_unknown_kind_of_score_is_refused():
    with pytest.raises(ValueError, match="lowerbound"):
        scores.from_uci("lowerbound", 3)


@pytest.mark.parametrize(
    ("comment", "score"),
    [
        ("[%eval 0.25]", 25),
        ("[%eval -1.2,20]", -120),
        ("[%eval #3]", 31997),
        ("[%eval #-3]", -31997),
        ("[%eval #-12,30]", -31988),
        ("good move [%clk 0:01:02] [%eval 12]  indeed", 1200),
        ("[%eval .5]", 50),
        ("[%eval 0.29]", 29),
        ("[%eval 999999.0]", 20000),
        ("[%eval 0.1] [%eval 0.2]", 10),
        ("[%eval #0]", None),
        ("[%eval ]", None),
        ("[%eval abc]", None),
        ("+0.25/14", None),
        ("", None),
    ],
)
def test_a_comment_gives_whites_score(comment, score):
    assert scores.from_comment(comment) == score


def test_expected_score_of_centipawns_is_lichess_win_percentage():
    # lichess: Win% = 50 + 50 * (2 / (1 + exp(-0.00368208 * centipawns)) - 1)
    centipawns = np.arange(-2000, 2001)
    lichess = (50 + 50 * (2 / (1 + np.exp(-0.00368208 * centipawns)) - 1)) / 100
    worth = scores.expected_score(centipawns.astype(np.int16))
    assert worth.dtype == np.float32
    np.testing.assert_allclose(worth, lichess, rtol=0, atol=1e-7)


def test_expected_score_agrees_with_python_chess_up_to_its_clipping():
    for centipawns in (-900, -50, 0, 30, 700):
        expected = chess.engine.Cp(centipawns).wdl(model="lichess").expectation()
        assert scores.expected_score(codes(centipawns))[0] == pytest.approx(expected, abs=1e-3)


def test_expected_score_stops_growing_at_2000_centipawns():
    assert len(set(scores.expected_score(codes(2000, 2001, 20000)).tolist())) == 1


def test_every_mate_is_worth_more_than_every_centipawn_score():
    assert scores.expected_score(codes(20001))[0] > scores.expected_score(codes(20000))[0]
    assert scores.expected_score(codes(-20001))[0] < scores.expected_score(codes(-20000))[0]


def test_a_quicker_mate_is_worth_strictly_more_even_in_float32():
    worth = scores.expected_score(np.array([scores.from_mate(n) for n in range(1, 251)], np.int16))
    assert (np.diff(worth) < 0).all()
    assert worth[0] < 1.0
    lost = scores.expected_score(np.array([scores.from_mate(-n) for n in range(1, 251)], np.int16))
    assert (np.diff(lost) > 0).all()
    assert lost[0] > 0.0


def test_mate_formula_is_as_documented():
    edge = 1 / (1 + np.exp(-0.00368208 * 2000))
    for n in (1, 10, 40):
        assert scores.expected_score_exact(codes(32000 - n))[0] == pytest.approx(
            1 - (1 - edge) * n / (n + 10), abs=1e-15
        )


def test_a_checkmate_on_the_board_is_worth_all_or_nothing():
    assert scores.expected_score(codes(-32000, 32000)).tolist() == [0.0, 1.0]


def test_the_worth_of_all_scores_mirrors_and_never_falls():
    every = np.arange(-32000, 32001).astype(np.int16)
    exact = scores.expected_score_exact(every)
    np.testing.assert_allclose(exact + exact[::-1], 1.0, atol=1e-15)
    assert (np.diff(exact) >= 0).all()
