import logging
import time

import chess
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actor import games as games_module
from actor.games import Game, read_games
from actor.mainline import find_cut
from common.rejections import RejectionReason
from common.settings import Side
from tests.actor.oracle import OracleGame, cut, raw_games, read, read_bytes


@pytest.fixture(autouse=True)
def _quiet_oracle():
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)


def read_one(text: str | bytes, comments: bool = False) -> Game:
    games, rejections = read_games(raw_games([as_bytes(text)]), comments=comments)
    assert not rejections
    return games[0]


def reject_one(text: str | bytes) -> RejectionReason:
    games, rejections = read_games(raw_games([as_bytes(text)]), comments=False)
    assert not games
    assert rejections[0].detail
    assert "\n" not in rejections[0].detail
    return rejections[0].reason


def as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def white_to_move(game: Game, ply: int) -> bool:
    return game.start_white_to_move == (ply % 2 == 0)


def fens(game: Game) -> list[str]:
    return [
        game.positions.to_fen(
            ply,
            Side.WHITE if white_to_move(game, ply) else Side.BLACK,
            game.start_fullmove + (ply + (not game.start_white_to_move)) // 2,
        )
        for ply in range(len(game) + 1)
    ]


def assert_equals_oracle(game: Game, oracle: OracleGame) -> None:
    assert game.moves_uci == oracle.moves
    assert fens(game) == oracle.fens
    assert game.positions.halfmove_clock.tolist() == oracle.clocks
    assert game.positions.repetitions.tolist() == oracle.repetitions
    assert game.result == oracle.result
    assert game.terminal_score == oracle.terminal_score
    assert (game.start_fen or chess.STARTING_FEN) == oracle.fens[0]
    white = [
        int(score) if white_to_move(game, ply) else -int(score) for ply, score in enumerate(game.comment_scores)
    ]
    assert [s if has else None for s, has in zip(white, game.has_comment_score, strict=True)] == (
        oracle.white_evals
    )


@pytest.mark.parametrize(
    ("file", "first", "count"),
    [
        ("games/games-a.pgn.zst", 0, 150),
        ("games/games-a.pgn.zst", 20_000, 100),
        ("games/online-lichess.pgn.zst", 0, 60),
        ("games/online-clk.pgn.zst", 0, 40),
        ("games/otb-clk.pgn.zst", 0, 40),
        ("evals/lichess-evals.pgn.zst", 0, 60),
    ],
)
def test_every_position_of_real_games_equals_python_chess(shared_data, file, first, count):
    texts = cut(read_bytes(shared_data / file))[first : first + count]
    games, rejections = read_games(raw_games(texts), comments=True)
    assert len(games) + len(rejections) == count
    assert {rejection.reason for rejection in rejections} <= {RejectionReason.VARIANT}
    for game in games:
        oracle = read(texts[game.number])
        assert oracle is not None
        assert_equals_oracle(game, oracle)
        assert game.headers.items() <= oracle.headers.items()


REJECTED_ODD_GAMES = {
    ("chess__0012.pgn", 0): "no-moves",
    ("chess__onlineolymtopd21.pgn.zst", 5): "no-moves",
    ("chessjs__0.pgn", 0): "no-moves",  # <br /> for line ends: no PGN
    ("chesslib__z0.pgn", 0): "null-move",
    ("dartchess__pathological-headers.pgn", 0): "no-moves",
    ("null-move-0.pgn", 0): "null-move",
    ("pgn-extract__nested-comment.pgn", 0): "null-move",  # its comment ends early, at `--nestedcomment`
    ("pgn-extract__test-allownullmoves.pgn", 0): "null-move",
    ("pgn-extract__test-allownullmoves.pgn", 1): "null-move",
    **{("pgn4web__chess960wch06.pgn", number): "variant" for number in range(8)},
    ("pgn4web__live-placeholder.pgn", 0): "no-moves",
    ("pgn4web__live-placeholder.pgn", 1): "no-moves",
    ("pgn4web__test.pgn", 0): "no-moves",
    ("pgn4web__test.pgn", 12): "null-move",
    ("python-chess__antichess-programfox.pgn", 0): "variant",
    ("python-chess__antichess-programfox.pgn", 1): "variant",
    ("python-chess__knightvuillaume-jannlee-zh-lichess.pgn", 0): "variant",
    ("scalachess__uzchesscup.pgn", 0): "no-moves",
}

# Games that python-chess reads otherwise: tags and moves on one line, results within variations, what
# stands behind a result.
BEYOND_THE_ORACLE = {
    ("pgn-extract__test-fuzzydepth.pgn", 0),
    ("pgn-extract__test-nobadresults.pgn", 0),
    ("pgn4web__test.pgn", 7),
    ("pgn4web__test.pgn", 9),
    ("pgn4web__test.pgn", 11),
    ("scid__res_gameLatin1.pgn", 0),
}


def test_the_odd_files_are_read_as_python_chess_reads_them_and_rejected_where_they_should(shared_data):
    rejected: dict[tuple[str, int], str] = {}
    compared = 0
    for path in sorted((shared_data / "odd").iterdir()):
        texts = cut(read_bytes(path))
        games, rejections = read_games(raw_games(texts, path.name), comments=True)
        assert len(games) + len(rejections) == len(texts)
        rejected |= {(path.name, rejection.number): rejection.reason.value for rejection in rejections}
        for game in games:
            if (path.name, game.number) not in BEYOND_THE_ORACLE:
                oracle = read(texts[game.number])
                assert oracle is not None
                assert not oracle.errors
                assert_equals_oracle(game, oracle)
                compared += 1
    assert rejected == REJECTED_ODD_GAMES
    assert compared > 1000


def test_a_game_on_one_line_with_its_latin_1_tags_is_read(shared_data):
    path = shared_data / "odd" / "scid__res_gameLatin1.pgn"
    game = read_one(read_bytes(path), comments=True)
    assert len(game) == 149
    assert game.headers["WhiteElo"] == "2743"


def test_variations_and_their_comments_do_not_count():
    text = "1. e4 (1. d4 {[%eval 9.0]} d5 (1... f5 2. c4)) e5 {[%eval 0.3]} (1... c5) 2. Nf3 1-0"
    game = read_one(text, comments=True)
    assert game.moves_uci == ["e2e4", "e7e5", "g1f3"]
    assert game.has_comment_score.tolist() == [False, False, True, False]
    assert game.comment_scores[2] == 30


def test_comments_nags_and_percent_lines_are_no_moves():
    text = '[Event "x"]\n\n% 1. a4\n1. e4! $1 {e5 is next} e5?! ; Nf3 c5\n%2. d4\n2. Nf3 $14 *'
    assert read_one(text).moves_uci == ["e2e4", "e7e5", "g1f3"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_byte_order_marks_line_ends_and_latin_1_are_understood(newline, mark, encoding):
    text = newline.join(['[White "Müller, Ö."]', '[Result "0-1"]', "", "1. e4 {é}", "e5 0-1", ""])
    game = read_one(mark + text.encode(encoding))
    assert game.headers["White"] == "Müller, Ö."
    assert game.moves_uci == ["e2e4", "e7e5"]
    assert game.result == 0


@pytest.mark.parametrize("gap", ["\n\n", "\n\n\n\n", "\r\n\r\n\r\n", "\n   \n\t\n"])
def test_tags_and_moves_are_one_game_whatever_blank_lines_lie_between(gap):
    game = read_one(f'\n\n[White "A"]{gap}[Black "B"]{gap}1. e4 e5{gap}2. Nf3 {{a{gap}b}} Nc6{gap}1-0{gap}')
    assert game.moves_uci == ["e2e4", "e7e5", "g1f3", "b8c6"]
    assert (game.headers["White"], game.headers["Black"]) == ("A", "B")
    assert game.result == 2


def test_castling_can_be_written_with_zeros_and_moves_as_uci_or_long():
    assert read_one("1. e4 e5 2. Nf3 Nc6 3. Bc4 Bc5 4. 0-0 Nf6 *").moves_uci[6] == "e1g1"
    assert read_one("1. e2e4 e7e5 2. g1f3 Ng8-f6 *").moves_uci == ["e2e4", "e7e5", "g1f3", "g8f6"]
    assert read_one("1. e4 a6 2. e5 d5 3. exd6ep cxd6 *").moves_uci[4] == "e5d6"


FEN = "4k3/8/8/8/8/8/4p3/R3K2R b KQ - 98 300"


def test_games_start_from_the_position_of_their_tags():
    game = read_one(f'[SetUp "1"]\n[FEN "{FEN}"]\n\n300... Kd7 301. Kxe2 Kc6 *')
    assert game.start_fen == FEN
    assert not game.start_white_to_move
    assert game.start_fullmove == 300
    assert game.moves_uci == ["e8d7", "e1e2", "d7c6"]
    assert fens(game)[0] == FEN


def test_the_standard_start_given_as_a_fen_is_the_standard_start():
    assert read_one(f'[FEN "{chess.STARTING_FEN}"]\n\n1. e4 *').start_fen is None
    assert read_one('[FEN "?"]\n[Variant "Standard"]\n\n1. e4 *').start_fen is None


def test_castling_rights_and_captures_that_a_fen_only_claims_are_dropped():
    game = read_one('[Variant "From Position"]\n[FEN "4k3/8/8/8/8/8/4P3/4K3 w KQkq e6 0 1"]\n\n1. Kd2 *')
    assert game.start_fen == "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"


def test_en_passant_stands_only_where_a_capture_is_legal():
    game = read_one("1. e4 a6 2. e5 d5 3. Nf3 f5 4. d4 h5 5. h4 *")
    assert game.positions.en_passant.tolist() == [-1, -1, -1, -1, 3, -1, 5, -1, -1, -1]
    pinned = read_one('[FEN "8/8/8/8/k2p3Q/8/4P3/3K4 w - - 0 1"]\n\n1. e4 Kb5 *')
    assert pinned.positions.en_passant.tolist() == [-1, -1, -1]


def test_repetitions_count_earlier_occurrences_only_of_the_very_same_position():
    shuffle = "Nf3 Nf6 Ng1 Ng8 " * 3
    assert read_one(f"{shuffle} *").positions.repetitions.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3]
    # Rook moves lose the right to castle: the same board is another position.
    text = '[FEN "4k2r/8/8/8/8/8/8/4K2R w Kk - 0 1"]\n\nRg1 Rg8 Rh1 Rh8 Rg1 Rg8 Rh1 Rh8 *'
    assert read_one(text).positions.repetitions.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_repetitions_of_one_game_do_not_count_for_another():
    games, _ = read_games(raw_games([b"1. Nf3 Nf6 *"] * 3), comments=False)
    assert all(not game.positions.repetitions.any() for game in games)


def long_game(plies: int) -> str:
    return " ".join(("Nf3 Nf6 Ng1 Ng8 " * (plies // 4 + 1)).split()[:plies])


def test_games_of_thousands_of_plies_are_read_with_clocks_beyond_255():
    games, _ = read_games(raw_games([b"1. e4 e5 *", f"{long_game(5001)} *".encode(), b"1. d4 *"]), comments=False)
    game = games[1]
    assert len(game) == 5001
    np.testing.assert_array_equal(game.positions.halfmove_clock, np.arange(5002))
    assert game.positions.repetitions[-1] == 255
    assert games[0].positions.halfmove_clock.tolist() == [0, 0, 0]


def test_a_halfmove_clock_beyond_255_at_the_start_goes_on_from_there():
    text = '[FEN "4k3/8/8/8/8/8/4P3/4K3 w - - 300 400"]\n\n1. Kd2 Kd7 2. e4 Kd6 *'
    assert read_one(text).positions.halfmove_clock.tolist() == [300, 301, 302, 0, 1]


@pytest.mark.parametrize(
    ("tags", "marker", "result"),
    [
        ('[Result "1-0"]', "1-0", 2),
        ('[Result "1-0"]', "", 2),
        ('[Result "1/2-1/2"]', "*", 1),
        ('[Result "0-1"]', "1-0", 0),
        ('[Result "*"]', "0-1", 0),
        ('[Result "?"]', "1/2-1/2", 1),
        ("", "1-0", 2),
        ("", "*", None),
        ("", "", None),
        ('[Result "*"]', "", None),
    ],
)
def test_the_result_tag_counts_then_the_marker_and_neither_is_no_fault(tags, marker, result):
    assert read_one(f"{tags}\n\n1. e4 e5 {marker}").result == result


def test_checkmate_and_stalemate_are_exact():
    assert read_one("1. f3 e5 2. g4 Qh4# 0-1").terminal_score == -32000
    assert read_one('[FEN "7k/8/6K1/8/8/8/8/5Q2 w - - 0 1"]\n\n1. Qf7 *').terminal_score == 0
    assert read_one("1. e4 *").terminal_score is None


def test_comments_score_the_position_after_their_move_and_the_start():
    text = "{ start [%eval 0.2] } 1. e4 {[%eval #-3]} e5 {a} {[%eval -1.25,12]} 2. Nf3 {[%clk 0:01:00]} *"
    game = read_one(text, comments=True)
    assert game.has_comment_score.tolist() == [True, True, True, False]
    assert game.comment_scores.tolist() == [20, 31997, -125, 0]
    assert not read_one(text).has_comment_score.any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1. e4 e5 2. Ke3 d5 *", "illegal-move"),
        ("1. f3 e5 2. g4 Qh4# 3. a3 *", "illegal-move"),
        ("1. Nf3 Nf6 2. d3 a6 3. Nd2 *", "ambiguous-move"),
        ("1. e4 -- 2. d4 *", "null-move"),
        ("1. e4 Z0 *", "null-move"),
        ("1. e4 e5 {never closed *", "cut-off"),
        ("1. e4 e5 (1... c5 2. Nf3 *", "cut-off"),
        ("1. e4 e5 2. Nf", "cut-off"),
        ("1. e4 e5 2. O-", "cut-off"),
        ('[White "A"]\n[Black "B', "cut-off"),
        ('[White "A"]\n\n1. e4\n\n{ no end', "cut-off"),
        ('[Variant "Atomic"]\n\n1. e4 *', "variant"),
        ('[Variant "Chess960"]\n\n1. e4 *', "variant"),
        ('[FEN "bqnbrkrn/pppppppp/8/8/8/8/PPPPPPPP/BQNBRKRN w EGeg - 0 1"]\n\n1. e4 *', "variant"),
        ('[White "A"]\n\n*', "no-moves"),
        ("", "no-moves"),
        ("  \n \n", "no-moves"),
        ("1. 2. 3. *", "no-moves"),
        ("this is a letter, not a game", "no-moves"),
        ('[FEN "garbage"]\n\n1. e4 *', "bad-position"),
        ('[FEN "8/8/8/8/8/8/4P3/4K3 w - - 0 1"]\n\n1. Kd2 *', "bad-position"),
        ('[FEN "4k3/8/8/8/8/8/4R3/4K3 w - - 0 1"]\n\n1. Rxe8 *', "bad-position"),
        ('[FEN "4k3/8/8/8/8/8/4P3/4K3 w - - 99999 1"]\n\n1. Kd2 *', "bad-position"),
        ('[FEN "4k3/8/8/8/8/8/4P3/4K3 w - - 0 99999999999"]\n\n1. Kd2 *', "bad-position"),
        ("{" + "x" * games_module.MAX_TEXT_BYTES + "} 1. e4 *", "too-large"),
        (long_game(games_module.MAX_PLIES + 1), "too-large"),
    ],
)
def test_what_can_not_be_used_is_rejected_with_its_reason(text, reason):
    assert reject_one(text) == reason


def test_a_complete_last_move_without_a_marker_is_not_cut_off():
    for last in ("Nf3", "Nbd2", "exd5", "O-O", "e8=Q", "e4", "a1=N+", "2.Nf3", "Qxd5#", "0-0-0"):
        assert find_cut(f"1. e4 e5 {last}") is None
    assert len(read_one("1. e4 e5 2. Nf3")) == 3


def test_a_rejection_says_where_its_game_stands():
    raw = raw_games([b"1. e4 *", b"1. e5 *", b"1. d4 *"], "some.pgn")
    games, rejections = read_games(raw, comments=False)
    assert [game.number for game in games] == [0, 2]
    assert [(r.number, r.source, r.line) for r in rejections] == [(1, "some.pgn", 2)]


def test_games_of_a_unit_that_together_are_too_long_are_rejected_from_there_on(monkeypatch):
    monkeypatch.setattr(games_module, "MAX_UNIT_PLIES", 5)
    games, rejections = read_games(raw_games([b"1. e4 e5 2. Nf3 *"] * 2 + [b"1. e4 e5 *"]), comments=False)
    assert [game.number for game in games] == [0, 2]
    assert [(r.number, r.reason) for r in rejections] == [(1, "too-large")]


def test_one_bad_game_leaves_the_others_of_its_unit_alone():
    texts = [b"", b"1. e4 *", b"\x00\xff{", b"1. e5 *", b"1. d4 d5 *", b'[FEN "x"]\n\n1. e4 *']
    games, rejections = read_games(raw_games(texts), comments=True)
    assert [game.number for game in games] == [1, 4]
    assert len(rejections) == 4


def test_no_games_are_no_games():
    assert read_games([], comments=False) == ([], [])


PGN = (
    b'[Event "x"]\n[White "A\\"b"]\n[Result "1-0"]\n'
    b'[FEN "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"]\n\n'
    b"1. e4 {[%eval 0.3]} e5 $1 (1... c5 {x}) 2. Nf3 Nc6 3. Bb5 a6 ; rest\n"
    b"4. O-O Nf6 5. d4 exd4 6. e5 d5 7. exd6 1-0\n"
)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.text(alphabet='[]{}()"\\;%*-0123456789abcdefghNBRQKOx=+#. \n\r', max_size=120).map(str.encode),
            st.builds(
                lambda start, end, new: PGN[:start] + new + PGN[max(start, end) :],
                st.integers(0, len(PGN)),
                st.integers(0, len(PGN)),
                st.one_of(st.just(b""), st.binary(max_size=4), st.sampled_from([b"{", b"(", b'"', b"\n\n", b"--"])),
            ),
        ),
        max_size=5,
    ),
    st.booleans(),
)
@example([b"\xef\xbb\xbf", b"[", b"{}", b"(((", b"1-0"], True)
@settings(max_examples=150, deadline=None)
def test_no_text_whatsoever_raises_and_every_game_is_accounted_for(texts, comments):
    raw = raw_games(texts)
    games, rejections = read_games(raw, comments=comments)
    assert sorted([g.number for g in games] + [r.number for r in rejections]) == list(range(len(raw)))
    for game in games:
        board = chess.Board(game.start_fen) if game.start_fen else chess.Board()
        for uci in game.moves_uci:
            move = chess.Move.from_uci(uci)
            assert board.is_legal(move)
            board.push(move)
        assert fens(game)[-1] == board.fen()


def test_deeply_nested_or_endless_text_is_read_in_good_time():
    hostile = [
        b"(" * 200_000,
        b"{" * 200_000,
        b"[" * 200_000,
        b"\n" * 500_000,
        b" " * 500_000 + b"x",
        b"1. e4 " + b"(1. d4 " * 20_000,
        b'[A "' + b"\\" * 100_000,
        b"O-" * 100_000,
        b"1." * 100_000,
    ]
    began = time.perf_counter()
    games, rejections = read_games(raw_games(hostile), comments=True)
    assert len(games) + len(rejections) == len(hostile)
    assert time.perf_counter() - began < 20
