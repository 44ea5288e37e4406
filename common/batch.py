"""A batch: the transitions of one unit for one agent, and its form on the wire and in the store.

The bytes of a batch are one zstd frame (level 1) of

    4 bytes      length of the header, unsigned, little-endian
    header       msgpack list: the fields of _Header, in order
    columns      one after another, as _COLUMNS lists them; some of two bytes as all low, then all high bytes

Boards go as their changes (see common.changes), those after probes not at all: they follow from the moves.
Actors encode, learners decode; the broker carries the bytes unopened. `decode` trusts nothing: sizes are
checked before anything is allocated, and every value before it is used.

Rows come in runs: one game's decision points of one colour. An agent with one side has a run for each game;
for one that plays both, each game has two: white's run, then black's.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard
from msgspec import Meta

from common import wire
from common.changes import Changes, boards_of, changes_of
from common.errors import MessageError
from common.messages import MAX_GAMES, Count
from common.moves import MOVES
from common.positions import NO_FILE, SQUARES, Positions
from common.probes import NO_REPLY, Probes, no_probes, probe_boards
from common.rejections import Rejection
from common.scores import MATE
from common.settings import Side

FORMAT = 2
"""Version of the format of batches; rises when an older reader would misread the bytes."""

NO_RESULT = 255
"""Result of a game that has none."""

GAME_SIDES = (Side.WHITE, Side.BLACK)
"""What `Batch.game_sides` counts in."""

ZSTD_LEVEL = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The transitions of one unit for one agent, as columns.

    A row is a decision point: a position of a game with the agent's side to move and a move played in it.
    Rows of one game and colour, a run, stand together and in order, games in the order of their numbers. An
    agent with one side has one run for each game, one that plays both has two: white's, then black's; what
    is said of "the agent's side" is then said of the run's colour. The games of a unit are all accounted
    for: `games_read` = `games_used` + `unselected` + `rejections`.
    """

    unit: int
    """Number of the unit."""
    agent: str
    """Name of the agent."""
    side: Side
    """Colour that the agent plays, or both."""
    games_read: int
    """Games of the unit."""
    unselected: int
    """Games that can be used but that the agent's query leaves out."""
    rejections: tuple[Rejection, ...]
    """Games that can't be used, with the reason, in the order of their numbers."""
    positions: Positions
    """[n] decision points, seen from the agent's side, which is to move."""
    actions: npt.NDArray[np.uint16]
    """[n] index of the move played."""
    scores: npt.NDArray[np.int16]
    """[n] score of the position from the agent's side."""
    game_numbers: npt.NDArray[np.uint64]
    """[g] number of the game of each run, rising; twice each for an agent that plays both sides."""
    game_sides: npt.NDArray[np.uint8]
    """[g] colour of each run, an index into GAME_SIDES: 0 white, 1 black."""
    game_rows: npt.NDArray[np.uint32]
    """[g] rows of each run; 0 for a game in which that side never moved."""
    first_plies: npt.NDArray[np.uint32]
    """[g] ply, from 0, of the run's first row; each further row is 2 plies on."""
    start_fullmoves: npt.NDArray[np.uint32]
    """[g] fullmove number (as in a FEN) of the run's first row; each further row's is 1 more."""
    results: npt.NDArray[np.uint8]
    """[g] half points of the agent: 0, 1 or 2; NO_RESULT for none."""
    final_scores: npt.NDArray[np.int16]
    """[g] score of the game's final position from the agent's side; exact for checkmate and stalemate."""
    probes: Probes = field(default_factory=no_probes)
    """Moves of the agent itself, evaluated; none unless the actors probe."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def games_used(self) -> int:
        """Games that the rows are of, each counted once."""
        return len(self.game_numbers) // len(self.side.colours)

    @property
    def row_sides(self) -> npt.NDArray[np.uint8]:
        """[n] colour of each row, an index into GAME_SIDES."""
        return np.repeat(self.game_sides, self.game_rows)

    @property
    def rejected(self) -> dict[str, int]:
        """Games that can't be used, by reason."""
        return dict(sorted(Counter(rejection.reason.value for rejection in self.rejections).items()))


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a batch may be, checked before memory is taken for it."""

    decompressed_bytes: int = 64 * 1024 * 1024
    games: int = MAX_GAMES


DEFAULT_LIMITS = Limits()


class _Beginning(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the header of every format begins with."""

    format: int


class _Header(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    format: int
    unit: Count
    agent: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\Z")]
    side: Side
    games_read: Count
    unselected: Count
    rejections: Annotated[tuple[Rejection, ...], Meta(max_length=MAX_GAMES)]
    rows: Count
    games: Count
    changes: Count
    probes: Count


_beginning_decoder = msgspec.msgpack.Decoder(_Beginning)
_header_decoder = msgspec.msgpack.Decoder(_Header)


class _Column(NamedTuple):
    name: str
    dtype: str
    per: Literal["rows", "games", "changes", "probes"]
    """What the column has a value for each of: a count in the header."""
    split: bool = False
    """Whether the values' low bytes stand together, then their high bytes."""
    own_block: bool = False
    """Whether a block of the zstd frame begins here: unlike columns compress better apart."""

    @property
    def bytes_each(self) -> int:
        return np.dtype(self.dtype).itemsize


_COLUMNS = (
    _Column("movers", "u1", "rows"),
    _Column("captured", "u1", "rows"),
    _Column("counts", "u1", "rows"),
    _Column("castling", "u1", "rows"),
    _Column("en_passant", "i1", "rows"),
    _Column("halfmove_clock", "<u2", "rows", split=True),
    _Column("repetitions", "u1", "rows"),
    _Column("differences", "u1", "changes", own_block=True),
    _Column("squares", "u1", "changes", own_block=True),
    _Column("actions", "<u2", "rows", own_block=True),
    _Column("scores", "<i2", "rows", split=True, own_block=True),
    _Column("game_numbers", "<u8", "games", own_block=True),
    _Column("game_sides", "u1", "games"),
    _Column("game_rows", "<u4", "games"),
    _Column("first_plies", "<u4", "games"),
    _Column("start_fullmoves", "<u4", "games"),
    _Column("results", "u1", "games"),
    _Column("final_scores", "<i2", "games"),
    _Column("probe_rows", "<u4", "probes", own_block=True),
    _Column("probe_versions", "<u8", "probes"),
    _Column("probe_actions", "<u2", "probes", own_block=True),
    _Column("probe_replies", "<u2", "probes"),
    _Column("probe_after_scores", "<i2", "probes", split=True, own_block=True),
    _Column("probe_scores", "<i2", "probes", split=True),
    _Column("probe_ended", "u1", "probes", own_block=True),
    _Column("after_castling", "u1", "probes"),
    _Column("after_en_passant", "i1", "probes"),
    _Column("after_halfmove_clock", "<u2", "probes", split=True),
    _Column("after_repetitions", "u1", "probes"),
    _Column("next_castling", "u1", "probes"),
    _Column("next_en_passant", "i1", "probes"),
    _Column("next_halfmove_clock", "<u2", "probes", split=True),
    _Column("next_repetitions", "u1", "probes"),
)
_OWN = (
    "actions", "scores", "game_numbers", "game_sides", "game_rows", "first_plies", "start_fullmoves", "results",
    "final_scores",
)  # fmt: skip
_CHANGES = ("movers", "captured", "counts", "squares", "differences")
_POSITIONS = ("castling", "en_passant", "halfmove_clock", "repetitions")
_PROBES = ("rows", "versions", "actions", "replies", "after_scores", "scores", "ended")


def encode(batch: Batch) -> bytes:
    """Return the batch as bytes; equal batches give equal bytes.

    Raises ValueError for probes whose boards are not what their moves make of the rows' boards.
    """
    changes = changes_of(batch.positions.boards, batch.actions, batch.game_rows)
    header = wire.pack(
        [
            FORMAT,
            batch.unit,
            batch.agent,
            batch.side.value,
            batch.games_read,
            batch.unselected,
            msgspec.to_builtins(batch.rejections),
            len(batch),
            len(batch.game_numbers),
            len(changes.squares),
            len(batch.probes),
        ]
    )
    columns = _columns_of(batch, changes)
    blocks = [[len(header).to_bytes(4, "little"), header]]
    for column in _COLUMNS:
        values = columns[column.name].astype(column.dtype, copy=False)
        if column.own_block:
            blocks.append([])
        blocks[-1].append(_apart(values).tobytes() if column.split else values.tobytes())
    parts = [part for part in map(b"".join, blocks) if part]
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(size=sum(map(len, parts)))
    pieces = []
    for part in parts:
        pieces += [frame.compress(part), frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*pieces, frame.flush()])


def _columns_of(batch: Batch, changes: Changes) -> dict[str, npt.NDArray[Any]]:
    probes = batch.probes
    after, after_reply = probe_boards(batch.positions.boards, probes.rows, probes.actions, probes.replies)
    if (after != probes.after_positions.boards).any() or (after_reply != probes.next_positions.boards).any():
        raise ValueError("the boards of the probes don't follow from their moves")
    return (
        {name: getattr(batch, name) for name in _OWN}
        | {name: getattr(changes, name) for name in _CHANGES}
        | {name: getattr(batch.positions, name) for name in _POSITIONS}
        | {f"probe_{name}": getattr(probes, name) for name in _PROBES}
        | {f"after_{name}": getattr(probes.after_positions, name) for name in _POSITIONS}
        | {f"next_{name}": getattr(probes.next_positions, name) for name in _POSITIONS}
    )


def decode(body: bytes, limits: Limits = DEFAULT_LIMITS) -> Batch:
    """Return the batch in `body`.

    Raises MessageError for anything that is not exactly one well-formed batch within `limits`.
    """
    content = _decompress(body, limits.decompressed_bytes)
    header, start = _read_header(content)
    if header.games > limits.games * len(header.side.colours):
        raise MessageError(f"batch too large: {header.games} runs are over the limit of {limits.games} games")
    for name, boards in (("rows", header.rows), ("probes", 2 * header.probes)):
        if boards * SQUARES > limits.decompressed_bytes:
            raise MessageError(
                f"batch too large: its {name} are over the limit of {limits.decompressed_bytes} bytes"
            )
    expected = start + sum(getattr(header, column.per) * column.bytes_each for column in _COLUMNS)
    if len(content) != expected:
        raise MessageError(f"batch of another length: {len(content)} bytes where its header promises {expected}")
    columns: dict[str, npt.NDArray[Any]] = {}
    for column in _COLUMNS:
        size = getattr(header, column.per) * column.bytes_each
        columns[column.name] = _column(content[start : start + size], column)
        start += size
    _check_ranges(columns)
    _check_games(header, columns)
    _check_accounting(header, columns)
    _check_probes(header, columns)
    changes = Changes(**{name: columns.pop(name) for name in _CHANGES})
    positions = Positions(
        boards=boards_of(changes, columns["actions"], columns["game_rows"]),
        **{name: columns.pop(name) for name in _POSITIONS},
    )
    probes = _probes_in(columns, positions)
    return Batch(
        unit=header.unit,
        agent=header.agent,
        side=header.side,
        games_read=header.games_read,
        unselected=header.unselected,
        rejections=header.rejections,
        positions=positions,
        probes=probes,
        **columns,
    )


def _probes_in(columns: dict[str, npt.NDArray[Any]], positions: Positions) -> Probes:
    """Take the probes' columns, which have been checked, out of `columns`."""
    found = {name: columns.pop(f"probe_{name}") for name in _PROBES}
    found["ended"] = found["ended"].astype(np.bool_)
    after, after_reply = probe_boards(positions.boards, found["rows"], found["actions"], found["replies"])
    return Probes(
        after_positions=Positions(boards=after, **{name: columns.pop(f"after_{name}") for name in _POSITIONS}),
        next_positions=Positions(boards=after_reply, **{name: columns.pop(f"next_{name}") for name in _POSITIONS}),
        **found,
    )


def _apart(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the bytes of n values of two bytes as [2, n]: low bytes, high bytes."""
    return values.view(np.uint8).reshape(-1, 2).T


def _column(content: bytes, column: _Column) -> npt.NDArray[Any]:
    if not column.split:
        return np.frombuffer(content, column.dtype)
    halves = np.frombuffer(content, np.uint8).reshape(2, -1)
    return np.ascontiguousarray(halves.T).reshape(-1).view(column.dtype)


def _decompress(body: bytes, limit_bytes: int) -> bytes:
    try:
        size = zstandard.frame_content_size(body)
        if size < 0:
            raise MessageError("batch does not state its decompressed size")
        if size > limit_bytes:
            raise MessageError(f"batch too large: {size} bytes are over the limit of {limit_bytes}")
        content = zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MessageError(f"batch is not zstd: {error}") from error
    return content


def _read_header(content: bytes) -> tuple[_Header, int]:
    """Return the header and where the columns begin."""
    end = 4 + int.from_bytes(content[:4], "little")
    if len(content) < 4 or len(content) < end:
        raise MessageError("batch ends within its header")
    header = content[4:end]
    if wire.unpack_as(header, _beginning_decoder, "batch header").format != FORMAT:
        raise MessageError(f"batch is not of format {FORMAT}, which this Rookery reads")
    return wire.unpack_as(header, _header_decoder, "batch header"), end


def _check_ranges(columns: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, lowest, highest in (
        ("counts", 0, SQUARES),
        ("castling", 0, 15),
        ("en_passant", -1, 7),
        ("actions", 0, MOVES - 1),
        ("scores", -MATE, MATE),
        ("final_scores", -MATE, MATE),
        ("game_sides", 0, len(GAME_SIDES) - 1),
        ("probe_actions", 0, MOVES - 1),
        ("probe_after_scores", -MATE, MATE),
        ("probe_scores", -MATE, MATE),
        ("probe_ended", 0, 1),
        ("after_castling", 0, 15),
        ("after_en_passant", -1, 7),
        ("next_castling", 0, 15),
        ("next_en_passant", -1, 7),
    ):
        column = columns[name]
        if column.size and (column.min() < lowest or column.max() > highest):
            raise MessageError(f"batch has {name} outside {lowest} to {highest}")
    if not np.isin(columns["results"], (0, 1, 2, NO_RESULT)).all():
        raise MessageError("batch has results that are not half points")


def _check_games(header: _Header, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check that games rise, each with a run for each colour that the agent plays, white's first."""
    colours = [GAME_SIDES.index(side) for side in header.side.colours]
    if header.games % len(colours):
        raise MessageError("batch has a game without its second side")
    sides = columns["game_sides"].reshape(-1, len(colours))
    numbers = columns["game_numbers"].reshape(-1, len(colours))
    if (sides != colours).any() or (numbers != numbers[:, :1]).any():
        raise MessageError(f"batch has games with other sides than an agent for {header.side.value} plays")
    if (numbers[1:, 0] <= numbers[:-1, 0]).any():
        raise MessageError("batch has games out of order")


def _check_probes(header: _Header, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    rows, replies = columns["probe_rows"], columns["probe_replies"]
    if rows.size and (rows[-1] >= header.rows or (rows[1:] <= rows[:-1]).any()):
        raise MessageError("batch has probes of no row, or out of order")
    without = replies == NO_REPLY
    if (replies[~without] >= MOVES).any():
        raise MessageError(f"batch has replies outside 0 to {MOVES - 1}")
    if (columns["probe_ended"][without] == 0).any():
        raise MessageError("batch has probes that go on without a reply")
    if (columns["probe_scores"][without] != columns["probe_after_scores"][without]).any():
        raise MessageError("batch has probes without a reply whose last score is another than their first")
    none = {"castling": 0, "en_passant": NO_FILE, "halfmove_clock": 0, "repetitions": 0}
    if any((columns[f"next_{name}"][without] != value).any() for name, value in none.items()):
        raise MessageError("batch has positions after replies that there are not")


def _check_accounting(header: _Header, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    if int(columns["game_rows"].sum(dtype=np.uint64)) != header.rows:
        raise MessageError("batch has rows that belong to no game, or games without their rows")
    if int(columns["counts"].sum(dtype=np.uint64)) != header.changes:
        raise MessageError("batch has changes that belong to no row, or rows without their changes")
    last_plies = columns["first_plies"] + 2 * columns["game_rows"].astype(np.uint64)
    last_fullmoves = columns["start_fullmoves"] + columns["game_rows"].astype(np.uint64)
    if header.games and max(last_plies.max(), last_fullmoves.max()) >= 2**32:
        raise MessageError("batch has games that are too long")
    accounted = header.games // len(header.side.colours) + header.unselected + len(header.rejections)
    if accounted != header.games_read:
        raise MessageError("batch does not account for every game that it was read from")
