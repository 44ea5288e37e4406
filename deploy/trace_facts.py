"""Where units, games and transitions came from, and what became of them: the types of the answers."""

import msgspec


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a game stands."""

    file: str
    line: int | None
    """Line at which it begins, from 1; None where the file can't be read any more."""
    headers: dict[str, str] = {}
    """Its tags as they stand."""


class TrainedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The interval of training that a unit came in."""

    first_unit: int
    last_unit: int
    step: int
    """Gradient steps in all at its end."""
    time: str | None
    """When it ended: UTC, ISO 8601; None where that was not written down."""


class StoredFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent has of a unit."""

    agent: str
    side: str
    transitions: int
    probes: int
    games_used: int
    games_unselected: int
    rejected: dict[str, int]
    stored: str
    """When, UTC, ISO 8601."""
    actor: str | None
    """Who made it, where, and with which engine and limit; None where that was not kept."""
    host: str | None
    engine: str | None
    trained: TrainedFacts | None
    """None while the agent is not trained on it."""


class UnitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A unit."""

    unit: int
    first_game: int
    last_game: int | None
    """None where it is not known how many games the last unit has."""
    agents: list[StoredFacts]
    missing: list[str]
    """Agents that do not have it."""


class GameOfAgent(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent has of a game."""

    agent: str
    fate: str
    """used, kept out of training, unselected, or rejected."""
    why: str = ""
    """Of an unselected game the agent's query, of a rejected one the reason and what exactly is wrong."""
    plies: list[int] = []
    """Plies of the agent's transitions."""
    outcome: float | None = None
    """0, 0.5 or 1 for the agent's side, for white where it plays both; None without a result."""


class GameFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A game."""

    game: int
    source: SourceFacts | None
    note: str
    """Why nothing is known of its source; empty where it is."""
    unit: UnitFacts
    agents: list[GameOfAgent]


class ProbeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The move that the agent itself would have made, and what the engine made of it."""

    move: str
    """SAN."""
    version: int
    """Of the weights that chose it."""
    reply: str | None
    """The expected reply, SAN; None where the move ends the game."""
    reward: float
    expected_score: float
    """In the last position, for the agent."""


class TransitionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A transition."""

    agent: str
    game: int
    ply: int
    side: str
    """Colour of the agent here."""
    fen: str
    move: str
    """SAN."""
    uci: str
    score: int
    """Of the position, for the agent, as common/scores.py has it: centipawns, or 32000 less the moves to mate."""
    expected_score: float
    """w of it."""
    reward: float
    next_ply: int | None
    """Of the agent's next decision point; None at the end of the game."""
    next_expected_score: float | None
    terminated: bool
    truncated: bool
    outcome: float | None
    kept_out: bool
    """Whether the game is kept out of training."""
    probe: ProbeFacts | None
    of_game: GameFacts


Facts = UnitFacts | GameFacts | TransitionFacts
