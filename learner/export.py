"""The export: an agent's experience as a table, one row per transition, through pandas.

Reads the store unit by unit, so that memory does not grow with it; a learner may be writing beside it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from common.batch import GAME_SIDES, Batch
from common.moves import uci_table
from common.settings import Reward, Settings
from common.tables import check_suffix, open_table
from common.transitions import END, transitions
from learner.store import STORE_FILE, ExperienceReader

ROWS_AT_ONCE = 32_768
"""Rows from which a part is written: enough to compress well, few enough to hold."""

COLUMNS = {
    "game": "int64",
    "ply": "int32",
    "fen": "str",
    "move": "str",
    "reward": "float32",
    "terminated": "bool",
    "truncated": "bool",
    "next_fen": "str",
    "next_move": "str",
    "expected_score": "float32",
    "unit": "int64",
}
"""The table's columns and their pandas dtypes; `next_fen` and `next_move` are null at the end of a game."""


def export(
    directory: Path, to: Path, settings: Settings, progress: Callable[[int], None] = lambda _rows: None
) -> int:
    """Write the experience of the agent whose directory is given to the file `to`; return the number of rows.

    The suffix of `to` names the format: .parquet, .csv or .jsonl. An old file stays until the new one is
    whole. `progress` is called with the rows written so far. Raises SettingsError for another suffix, an
    unknown agent, or a file that can't be written; StoreError when there is no store or it is damaged.
    """
    check_suffix(to)
    agent = settings.agent(directory.name)
    with ExperienceReader(directory / STORE_FILE, agent) as store, open_table(to, COLUMNS, ROWS_AT_ONCE) as table:
        for batch in store.batches(0):
            table.write(frame_of(batch, settings.reward))
            progress(table.rows)
    return table.rows


def frame_of(batch: Batch, reward: Reward) -> pd.DataFrame:
    """Return the transitions of one batch as a table with COLUMNS, one row each, in the batch's order."""
    rows = transitions(batch, reward)
    sides = [GAME_SIDES[side] for side in rows.sides.tolist()]
    fens = [
        rows.positions.to_fen(row, side, fullmove)
        for row, (side, fullmove) in enumerate(zip(sides, rows.fullmoves.tolist(), strict=True))
    ]
    moves = [uci_table(side)[action] for side, action in zip(sides, rows.actions.tolist(), strict=True)]
    following = rows.next_rows.tolist()
    columns = {
        "game": rows.game_numbers,
        "ply": rows.plies,
        "fen": fens,
        "move": moves,
        "reward": rows.rewards,
        "terminated": rows.terminated,
        "truncated": rows.truncated,
        "next_fen": [None if row == END else fens[row] for row in following],
        "next_move": [None if row == END else moves[row] for row in following],
        "expected_score": rows.expected_scores,
        "unit": np.full(len(rows), batch.unit),
    }
    return pd.DataFrame(columns).astype(COLUMNS)
