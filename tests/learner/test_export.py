import dataclasses
from pathlib import Path

import chess
import numpy as np
import pandas as pd
import pytest

from common.batch import GAME_SIDES, NO_RESULT, Batch
from common.errors import SettingsError, StoreError
from common.moves import indices_by_uci
from common.positions import Positions
from common.settings import AgentSettings, Reward, Settings, Side
from learner import export as export_module
from learner.export import COLUMNS, export
from tests.common.batches import played
from tests.learner.units import BLACK, WHITE, random_batch, store_with

MOVES = ["e2e4", "e7e5", "g1f3", "b8c6", "f1b5", "g8f6", "e1g1", "f6e4"]


def row_of(board: chess.Board) -> tuple[list[int], int]:
    """Codes of the squares and castling bits from the side to move, by python-chess."""
    codes = []
    for square in range(64):
        piece = board.piece_at(square if board.turn else square ^ 56)
        codes.append(0 if piece is None else piece.piece_type + (0 if piece.color == board.turn else 6))
    sides = (board.turn, not board.turn)
    rights = [
        right(side)
        for side in sides
        for right in (board.has_kingside_castling_rights, board.has_queenside_castling_rights)
    ]
    return codes, sum(bit << place for place, bit in enumerate(rights))


def game_batch(unit: int, agent: AgentSettings, result: int = 2) -> Batch:
    """One game of MOVES for the agent's side."""
    board, boards, castling, clocks, actions = chess.Board(), [], [], [], []
    for move in MOVES:
        if board.turn == (agent.side is Side.WHITE):
            codes, rights = row_of(board)
            boards.append(codes)
            castling.append(rights)
            clocks.append(board.halfmove_clock)
            actions.append(indices_by_uci(Side.WHITE)[mirrored(move) if board.turn == chess.BLACK else move])
        board.push_uci(move)
    count = len(boards)
    return Batch(
        unit=unit,
        agent=agent.name,
        side=agent.side,
        games_read=1,
        unselected=0,
        rejections=(),
        positions=Positions(
            boards=np.array(boards, np.uint8),
            castling=np.array(castling, np.uint8),
            en_passant=np.full(count, -1, np.int8),
            halfmove_clock=np.array(clocks, np.uint16),
            repetitions=np.zeros(count, np.uint8),
        ),
        actions=np.array(actions, np.uint16),
        scores=np.arange(count).astype(np.int16) * 50,
        game_numbers=np.array([unit * 10], np.uint64),
        game_sides=np.array([GAME_SIDES.index(agent.side)], np.uint8),
        game_rows=np.array([count], np.uint32),
        first_plies=np.array([0 if agent.side is Side.WHITE else 1], np.uint32),
        start_fullmoves=np.array([1], np.uint32),
        results=np.array([result], np.uint8),
        final_scores=np.array([0], np.int16),
    )


def mirrored(uci: str) -> str:
    return "".join(str(9 - int(letter)) if letter.isdigit() else letter for letter in uci)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path)
    return pd.read_json(path, lines=True, precise_float=True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("agent", [WHITE, BLACK], ids=["white", "black"])
def test_rows_are_those_of_the_game_on_a_board(tmp_path: Path, suffix: str, agent: AgentSettings) -> None:
    directory = tmp_path / agent.name
    batches = [game_batch(0, agent, result=2), game_batch(1, agent, result=NO_RESULT)]
    store_with(directory / "experience.db", batches, agent).close()
    to = tmp_path / f"table{suffix}"
    assert export(directory, to, Settings()) == 8
    table = read(to)
    assert list(table.columns) == list(COLUMNS)

    board, rows = chess.Board(), []
    for ply, move in enumerate(MOVES):
        if board.turn == (agent.side is Side.WHITE):
            rows.append((ply, board.fen(), move))
        board.push_uci(move)
    scores = [1 / (1 + np.exp(-0.00368208 * 50 * k)) for k in range(4)]
    for unit, end in ((0, 1.0), (1, 0.5)):
        part = table[table["unit"] == unit].reset_index(drop=True)
        assert part["game"].tolist() == [unit * 10] * 4
        assert list(zip(part["ply"], part["fen"], part["move"], strict=True)) == rows
        assert part["next_fen"][:-1].tolist() == [fen for _, fen, _ in rows[1:]]
        assert part["next_move"][:-1].tolist() == [move for _, _, move in rows[1:]]
        assert part[["next_fen", "next_move"]].iloc[-1].isna().all()
        np.testing.assert_allclose(part["expected_score"], scores, rtol=1e-6)
        np.testing.assert_allclose(part["reward"], np.diff([*scores, end]), rtol=1e-5)
        assert part["terminated"].tolist() == [False, False, False, unit == 0]
        assert part["truncated"].tolist() == [False, False, False, unit == 1]


def test_rows_of_an_agent_that_plays_both_sides_are_those_of_the_two_agents(tmp_path: Path) -> None:
    both = AgentSettings(name="both", side=Side.BOTH)
    tables = {}
    for agent in (both, WHITE, BLACK):
        store_with(tmp_path / agent.name / "experience.db", [played_batch(agent)], agent).close()
        to = tmp_path / f"{agent.name}.parquet"
        export(tmp_path / agent.name, to, Settings(agents=(both, WHITE, BLACK)))
        tables[agent.name] = read(to)
    ours = tables["both"].sort_values(["game", "ply"], ignore_index=True)
    theirs = pd.concat([tables["white"], tables["black"]]).sort_values(["game", "ply"], ignore_index=True)
    assert len(ours) == 2 * 3 * 4
    for name in ("fen", "move", "next_fen", "next_move", "terminated"):
        pd.testing.assert_series_equal(ours[name], theirs[name])


def played_batch(agent: AgentSettings) -> Batch:
    batch = played(3, games=3, plies=8, side=agent.side)
    return dataclasses.replace(batch, agent=agent.name, results=np.full(len(batch.game_numbers), 1, np.uint8))


def test_all_formats_hold_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "ROWS_AT_ONCE", 50)  # several parts
    batches = [random_batch(unit) for unit in range(6)]
    store_with(tmp_path / "white" / "experience.db", batches).close()
    tables = []
    for suffix in (".parquet", ".csv", ".jsonl"):
        to = tmp_path / f"table{suffix}"
        assert export(tmp_path / "white", to, Settings(reward=Reward.OUTCOME)) == sum(map(len, batches))
        tables.append(read(to).astype(COLUMNS))
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other, check_exact=True)
    assert tables[0]["unit"].is_monotonic_increasing
    assert sorted(child.name for child in tmp_path.iterdir()) == [
        "table.csv",
        "table.jsonl",
        "table.parquet",
        "white",
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_store_without_rows_gives_a_table_without_rows(tmp_path: Path, suffix: str) -> None:
    store_with(tmp_path / "white" / "experience.db", [random_batch(0, games=0)]).close()
    to = tmp_path / f"table{suffix}"
    assert export(tmp_path / "white", to, Settings()) == 0
    if suffix != ".jsonl":
        assert list(read(to).columns) == list(COLUMNS)


def test_what_cannot_be_exported_is_refused_and_an_old_file_stays(tmp_path: Path) -> None:
    directory, to = tmp_path / "white", tmp_path / "table.csv"
    to.write_text("old")
    with pytest.raises(StoreError, match="there is no experience store"):
        export(directory, to, Settings())
    store_with(directory / "experience.db", [random_batch(0)]).close()
    with pytest.raises(SettingsError, match=r"the suffix must be one of \.parquet, \.csv, \.jsonl"):
        export(directory, tmp_path / "table.xlsx", Settings())
    with pytest.raises(SettingsError, match="no agent is called 'white'"):
        export(directory, to, Settings(agents=(BLACK,)))
    with pytest.raises(SettingsError, match="can't be written: No such file or directory"):
        export(directory, tmp_path / "nowhere" / "table.csv", Settings())
    assert to.read_text() == "old"
