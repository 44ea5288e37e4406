"""Matches: two players meet from fixed openings, each opening once with either colours, many games at once.

    result = play_match(player, opponent, games=200)
    print(result.elo, result)

All games in progress advance together, so that a network judges large batches and several engines think at once.
Movers that are deterministic give the same games every time, and with one `concurrency` so do seeded ones.
Knows nothing of files and terminals: whoever calls it gets each game as it ends.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import chess
import msgspec

from arena.adjudication import Adjudication, Ending, ending_by_rules, forfeit
from arena.elo import EloEstimate, estimate
from arena.game_record import PlayedGame
from arena.movers import Choice, Mover, choices_of
from arena.openings import Opening, load_openings
from arena.sprt import Sprt, SprtState
from common.errors import SettingsError

logger = logging.getLogger(__name__)

CONCURRENCY = 64
"""Games in progress at once, unless told otherwise."""


class MatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a match, or of as much of it as was played; all counts from the first player's view."""

    player: str
    opponent: str
    games: int
    """Games that ended."""
    games_wanted: int
    wins: int
    draws: int
    losses: int
    pairs: tuple[int, int, int, int, int]
    """Pairs of games from one opening that made 0, ½, 1, 1½ and 2 points."""
    elo: EloEstimate | None
    """None before the first game ended."""
    sprt: SprtState | None
    """None unless a test was asked for. Counts whole pairs in their order, up to the first that isn't whole."""
    endings: dict[str, int]
    """How many games ended for each reason, the most frequent first."""
    forfeits: int
    """Games that the first player lost for an illegal move, or for none."""
    opponent_forfeits: int
    plies: int
    """Moves made in the games that ended, without the openings'."""
    seconds: float

    @property
    def score(self) -> float:
        """Share of the points that the first player made; 0 before the first game ended."""
        return (self.wins + self.draws / 2) / self.games if self.games else 0.0

    def __str__(self) -> str:
        """Return one line: `rookery - random: +198 =2 -0 of 200, 99.5 %, +920 (+548 to +∞) Elo`."""
        counts = f"+{self.wins} ={self.draws} -{self.losses} of {self.games:,}"
        test = f", {self.sprt}" if self.sprt else ""
        return f"{self.player} - {self.opponent}: {counts}, {self.score:.1%}, {self.elo or 'no Elo yet'}{test}"


@dataclass(slots=True, eq=False)
class _Game:
    """A game in progress."""

    number: int
    board: chess.Board
    player_is_white: bool
    opening_plies: int
    scores: list[int | None] = field(default_factory=list)

    @property
    def player_to_move(self) -> bool:
        return self.board.turn == self.player_is_white


def play_match(
    player: Mover,
    opponent: Mover,
    *,
    games: int,
    openings: Sequence[Opening] | None = None,
    adjudication: Adjudication | None = None,
    sprt: Sprt | None = None,
    concurrency: int = CONCURRENCY,
    on_game: Callable[[PlayedGame, MatchResult], None] | None = None,
    stopping: Callable[[], object] = lambda: False,
) -> MatchResult:
    """Play up to `games` games and return what came of them.

    The bundled openings are the default; when they run out, they begin anew. `on_game` is called with each game
    as it ends and the result so far. A match ends early when `sprt` has its answer or `stopping` returns true;
    games in progress are then dropped. Raises SettingsError for fewer than one game.
    """
    if games < 1 or concurrency < 1:
        raise SettingsError("a match needs at least one game, and one at once")
    match = _Match(player, opponent, games, openings or load_openings(), adjudication or Adjudication(), sprt)
    match.play(concurrency, on_game or _nobody, stopping)
    return match.result()


def _nobody(game: PlayedGame, result: MatchResult) -> None:
    """Take no notice."""


class _Match:
    """The state of a match."""

    def __init__(
        self,
        player: Mover,
        opponent: Mover,
        games: int,
        openings: Sequence[Opening],
        adjudication: Adjudication,
        sprt: Sprt | None,
    ) -> None:
        self._player, self._opponent, self._games = player, opponent, games
        self._openings, self._adjudication = openings, adjudication
        self._begun_s = time.monotonic()
        self._half_points: dict[int, int] = {}
        """By the number of the game."""
        self._results, self._pairs = [0, 0, 0], [0, 0, 0, 0, 0]
        """Games and whole pairs, by half points."""
        self._endings: Counter[str] = Counter()
        self._forfeits = {True: 0, False: 0}
        """By whether the first player lost by it."""
        self._plies = 0
        self._test = _Test(sprt) if sprt else None

    def play(
        self, concurrency: int, on_game: Callable[[PlayedGame, MatchResult], None], stopping: Callable[[], object]
    ) -> None:
        waiting = self._fixtures()
        games: list[_Game] = []
        while not stopping():
            games += [game for _, game in zip(range(concurrency - len(games)), waiting, strict=False)]
            if not games:
                return
            for of_player in (True, False):
                for played in self._advance(games, of_player):
                    on_game(played, self.result())
                    if self._test is not None and self._test.state.accepted:
                        return

    def _fixtures(self) -> Iterator[_Game]:
        for number in range(self._games):
            opening = self._openings[number // 2 % len(self._openings)]
            board = opening.board()
            yield _Game(number, board, player_is_white=number % 2 == 0, opening_plies=len(opening.moves))

    def _advance(self, games: list[_Game], of_player: bool) -> Iterator[PlayedGame]:
        """Have the player, or else the opponent, move wherever it is to; take out and yield what ends by that."""
        mover = self._player if of_player else self._opponent
        due = [game for game in games if game.player_to_move == of_player]
        for game, choice in zip(due, choices_of(mover, [game.board for game in due]), strict=True):
            ending = self._move(game, choice)
            if ending is not None:
                games.remove(game)
                yield self._record(game, ending)

    def _move(self, game: _Game, choice: Choice) -> Ending | None:
        if not game.board.is_legal(choice.move):
            self._forfeits[game.player_to_move] += 1
            ending = forfeit(game.board, choice.move, choice.failure)
            logger.warning("game-forfeited game=%d fen=%s why=%s", game.number, game.board.fen(), ending.reason)
            return ending
        game.board.push(choice.move)
        game.scores.append(choice.score_cp)
        return ending_by_rules(game.board) or self._adjudication.ending(game.board, game.scores)

    def _record(self, game: _Game, ending: Ending) -> PlayedGame:
        names = (self._player.name, self._opponent.name)
        white, black = names if game.player_is_white else names[::-1]
        played = PlayedGame(
            number=game.number,
            white=white,
            black=black,
            player_is_white=game.player_is_white,
            board=game.board,
            opening_plies=game.opening_plies,
            ending=ending,
        )
        self._count(played)
        self._endings[ending.reason] += 1
        self._plies += len(game.board.move_stack) - game.opening_plies
        if self._test is not None:
            self._test.update(self._half_points)
        return played

    def result(self) -> MatchResult:
        losses, draws, wins = self._results
        ll, ld, level, dw, ww = self._pairs
        return MatchResult(
            player=self._player.name,
            opponent=self._opponent.name,
            games=len(self._half_points),
            games_wanted=self._games,
            wins=wins,
            draws=draws,
            losses=losses,
            pairs=(ll, ld, level, dw, ww),
            elo=estimate(self._results, self._pairs),
            sprt=self._test.state if self._test else None,
            endings=dict(self._endings.most_common()),
            forfeits=self._forfeits[True],
            opponent_forfeits=self._forfeits[False],
            plies=self._plies,
            seconds=time.monotonic() - self._begun_s,
        )

    def _count(self, played: PlayedGame) -> None:
        points = self._half_points[played.number] = played.half_points
        self._results[points] += 1
        other = self._half_points.get(played.number ^ 1)
        if other is not None:
            self._pairs[points + other] += 1


class _Test:
    """A sequential test on pairs in the order of their numbers.

    Short games end first, and they are not like others: taking pairs as they end would favour one hypothesis.
    """

    def __init__(self, sprt: Sprt) -> None:
        self._next = 0
        self._pairs = [0] * 5
        self.state = SprtState(sprt=sprt, log_likelihood_ratio=0.0, accepted=None)

    def update(self, half_points: dict[int, int]) -> None:
        """Count further pairs, one at a time, until one is missing or the answer is there."""
        while self.state.accepted is None and {self._next, self._next + 1} <= half_points.keys():
            self._pairs[half_points[self._next] + half_points[self._next + 1]] += 1
            self._next += 2
            sprt = self.state.sprt
            ratio = sprt.log_likelihood_ratio(self._pairs)
            self.state = SprtState(sprt=sprt, log_likelihood_ratio=ratio, accepted=sprt.verdict(ratio))
