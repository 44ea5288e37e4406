import random

import chess
import numpy as np
import pytest

from agent.features import (
    LAYOUT,
    MOVE_FAMILIES,
    MOVE_FEATURES,
    POSITION_FEATURES,
    TOKENS,
    Attacks,
    attacks,
    move_features,
    places_of,
    position_features,
    pseudo_legal_moves,
    situations,
    tokens,
)
from common.moves import MOVES, indices_by_uci, pseudo_legal_mask
from common.positions import Positions, concatenate
from common.settings import Side
from tests.common.boards import AWKWARD_FENS, all_boards, positions_of
from tests.learner.units import random_positions

WORTH = {0: 0, 1: 1, 2: 3, 3: 3, 4: 5, 5: 9, 6: 100}


def boards() -> list[chess.Board]:
    chosen = random.Random(1).sample(all_boards()[len(AWKWARD_FENS) :], 120)
    return [chess.Board(fen) for fen in AWKWARD_FENS] + chosen


BOARDS = boards()
POSITIONS = concatenate([positions_of(board) for board in BOARDS])


@pytest.fixture(scope="module")
def attacked() -> Attacks:
    return attacks(POSITIONS.boards)


def seen(board: chess.Board) -> chess.Board:
    """The board as its side to move sees it: white."""
    return board if board.turn else board.mirror()


def kinds_at(board: chess.Board, colour: chess.Color, square: int) -> list[int]:
    """Kinds of the pieces that attack a square, the least valuable first."""
    found = {board.piece_type_at(attacker) or 0 for attacker in board.attackers(colour, square)}
    return sorted(found)


def test_attacks_are_those_that_the_rules_give(attacked: Attacks) -> None:
    for row, board in enumerate(map(seen, BOARDS)):
        for square in chess.SQUARES:
            own, other = (kinds_at(board, colour, square) for colour in (chess.WHITE, chess.BLACK))
            assert attacked.own_least[row, square] == (own[0] if own else 0)
            assert attacked.own_second[row, square] == (own[1] if len(own) > 1 else 0)
            assert attacked.other_least[row, square] == (other[0] if other else 0)
            for least, kinds in ((attacked.own_least, own), (attacked.other_least, other)):
                assert WORTH[int(least[row, square])] == min((WORTH[kind] for kind in kinds), default=0)


def test_checks_are_the_squares_from_which_the_king_would_be_attacked(attacked: Attacks) -> None:
    for row, board in enumerate(map(seen, BOARDS)):
        king = board.king(chess.BLACK)
        assert king is not None
        for kind in chess.PIECE_TYPES:
            for square in chess.scan_forward(~board.occupied & chess.BB_ALL):
                twin = board.copy(stack=False)
                twin.set_piece_at(square, chess.Piece(kind, chess.WHITE))
                attacks_it = square in twin.attackers(chess.WHITE, king)
                assert attacked.checks[row, kind - 1, square] == attacks_it


def moves_of(row: int) -> tuple[list[chess.Move], np.ndarray]:
    board = BOARDS[row]
    legal, side = list(board.legal_moves), Side.WHITE if board.turn else Side.BLACK
    return legal, np.array([indices_by_uci(side)[move.uci()] for move in legal], np.int64)


def test_the_features_of_a_move_say_what_the_board_says(attacked: Attacks) -> None:
    kinds = 7
    for row, board in enumerate(BOARDS):
        legal, actions = moves_of(row)
        if not legal:
            continue
        found = move_features(POSITIONS, attacked, np.full(len(legal), row), actions)
        assert found.shape == (len(legal), MOVE_FAMILIES)
        starts = np.cumsum([0, 1880, 384, 384, 6 * 49 * 3, 6 * 98])
        turned = 0 if board.turn else 56
        for move, action, features in zip(legal, actions.tolist(), (found - starts).tolist(), strict=True):
            piece = board.piece_type_at(move.from_square) or 0
            becomes = move.promotion or piece
            start, end = move.from_square ^ turned, move.to_square ^ turned
            taken = chess.PAWN if board.is_en_passant(move) else board.piece_type_at(move.to_square) or 0
            if board.is_castling(move):
                taken = 0
            guard, threat = (
                kinds_at(board, not board.turn, square) for square in (move.to_square, move.from_square)
            )
            held = bool(kinds_at(board, board.turn, move.from_square))
            own = kinds_at(board, board.turn, move.to_square)
            others = [kind for kind in own[:2] if kind != piece] if own[:1] == [piece] else own[:1]
            backed = 2 if others else 1 if own else 0
            least_guard, least_threat = (guard or [0])[0], (threat or [0])[0]
            check = bool(attacked.checks[row, becomes - 1, end])
            assert features == [
                action,
                (becomes - 1) * 64 + end,
                (piece - 1) * 64 + start,
                (((piece - 1) * kinds + taken) * kinds + least_guard) * 3 + backed,
                (((piece - 1) * kinds + least_threat) * 2 + held) * kinds + least_guard,
                (((piece - 1) * 2 + check) * kinds + taken) * kinds + least_guard,
            ]
            if check and not move.promotion and piece != chess.KING and not board.is_en_passant(move):
                assert board.gives_check(move)


def test_positions_have_a_feature_of_each_family_and_none_is_out_of_range(attacked: Attacks) -> None:
    features, offsets = position_features(POSITIONS, attacked)
    assert len(offsets) == len(BOARDS)
    ends = [*offsets[1:].tolist(), len(features)]
    bounds = np.array(LAYOUT[:-1])
    for row, board in enumerate(BOARDS):
        own = features[offsets[row] : ends[row]]
        assert len(np.unique(own[own < LAYOUT.relations])) == (own < LAYOUT.relations).sum()
        families = np.bincount(np.searchsorted(bounds, own, side="right") - 1, minlength=9).tolist()
        pieces = len(board.piece_map())
        mirrored = seen(board)
        touched = sum(
            bool(mirrored.attackers(chess.WHITE, square) or mirrored.attackers(chess.BLACK, square))
            for square in chess.scan_forward(~mirrored.occupied & chess.BB_ALL)
        )
        assert families == [pieces, pieces, pieces, touched, 2 * pieces, 1, 1, 1, 1]
    assert features.min() >= 0
    assert features.max() < POSITION_FEATURES


def test_any_row_of_bytes_has_features_within_range() -> None:
    positions = random_positions(np.random.default_rng(3), 300)
    attacked = attacks(positions.boards)
    features, offsets = position_features(positions, attacked)
    assert (np.diff(offsets) >= 4).all()
    assert 0 <= features.min() <= features.max() < POSITION_FEATURES
    found = tokens(positions.boards, attacked)
    assert 0 <= found.min() <= found.max() < TOKENS
    rows, actions = np.arange(300), np.random.default_rng(4).integers(0, 1880, 300)
    moves = move_features(positions, attacked, rows, actions)
    starts = np.cumsum([0, 1880, 384, 384, 6 * 49 * 3, 6 * 98])
    ends = [*starts[1:], MOVE_FEATURES]
    assert (moves >= starts).all()
    assert (moves < ends).all()


def test_situations_tell_rights_files_clocks_and_repetitions_apart() -> None:
    positions = random_positions(np.random.default_rng(3), 300)
    found = situations(positions)
    assert (found[:, 0] == positions.castling).all()
    assert (found[:, 1] == 17 + positions.en_passant).all()
    assert (found[:, 2] == 25 + np.minimum(positions.halfmove_clock // 4, 25)).all()
    assert (found[:, 3] == 51 + np.minimum(positions.repetitions, 2)).all()


@pytest.mark.parametrize("positions", [POSITIONS, random_positions(np.random.default_rng(8), 50)])
def test_pseudo_legal_moves_are_those_of_the_mask(positions: Positions) -> None:
    mask = pseudo_legal_mask(positions)
    rows, actions = pseudo_legal_moves(positions)
    np.testing.assert_array_equal(np.stack([rows, actions], axis=1), np.argwhere(mask))
    played = np.random.default_rng(1).integers(0, 1880, len(positions) - 5)
    mask[np.arange(len(played)), played] = True
    rows, actions = pseudo_legal_moves(positions, played)
    np.testing.assert_array_equal(np.stack([rows, actions], axis=1), np.argwhere(mask))


def test_the_moves_played_are_found_among_the_pseudo_legal_ones_whatever_the_board_says() -> None:
    generator = np.random.default_rng(4)
    positions = random_positions(generator, 40)
    played = generator.integers(0, MOVES, 30)  # in the first positions
    rows, actions = pseudo_legal_moves(positions, played)
    places = places_of(played, rows, actions)
    assert rows[places].tolist() == list(range(30))
    assert actions[places].tolist() == played.tolist()


def test_every_legal_move_is_pseudo_legal() -> None:
    rows, actions = pseudo_legal_moves(POSITIONS)
    found = set(zip(rows.tolist(), actions.tolist(), strict=True))
    for row in range(len(BOARDS)):
        assert {(row, action) for action in moves_of(row)[1].tolist()} <= found
