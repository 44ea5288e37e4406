"""The games of a broker under test: a few short ones, two a unit."""

from broker.units import RawUnit
from common.messages import RawGame


class FewGames:
    """A reader of `total` units of two games each."""

    def __init__(self, total: int) -> None:
        self.units_total: int | None = None
        self.games_total: int | None = None
        self.games_cut, self.fraction_read, self._total = 0, 0.0, total

    def get(self, unit: int) -> RawUnit | None:
        if unit >= self._total:
            self.units_total, self.games_total, self.fraction_read = self._total, 2 * self._total, 1.0
            return None
        self.games_cut = max(self.games_cut, 2 * (unit + 1))
        return RawUnit(unit=unit, games=(game(2 * unit), game(2 * unit + 1)))


def game(number: int) -> RawGame:
    return RawGame(number=number, source="a.pgn", line=3 * number + 1, text=b"1. e4 { \xe9\x00 } e5 *")
