"""Hashes of positions: to find equal ones fast, the same on every machine.

Called by learners. Two positions may share a hash: whoever can't bear that compares them.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from common.positions import PIECE_CODES, SQUARES, Positions

_CASTLING_CODES, _FILE_CODES = 16, 9
_HASH_SEED = 20_150_914


def position_hashes(positions: Positions) -> npt.NDArray[np.uint64]:
    """Return a hash of each position's board, castling rights and en-passant file, uint64 [n].

    Zobrist's hash with fixed random numbers: the same on every machine.
    """
    boards, castling, files = _hash_numbers()
    hashes: npt.NDArray[np.uint64] = np.bitwise_xor.reduce(boards[np.arange(SQUARES), positions.boards], axis=1)
    return hashes ^ castling[positions.castling] ^ files[positions.en_passant + 1]


@cache
def _hash_numbers() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    count = SQUARES * PIECE_CODES
    numbers = np.random.PCG64(_HASH_SEED).random_raw(count + _CASTLING_CODES + _FILE_CODES)
    boards, castling, files = np.split(numbers, [count, count + _CASTLING_CODES])
    return boards.reshape(SQUARES, PIECE_CODES), castling, files
