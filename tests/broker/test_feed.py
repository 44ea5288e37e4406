import time
from collections.abc import Callable

import pytest

from broker.feed import AHEAD, UnitFeed
from broker.units import RawUnit
from common.errors import RookeryError, SourceError
from common.messages import RawGame


class FakeReader:
    """Gives `total` units of one game each, and notes what it was asked for."""

    def __init__(self, total: int, fails_at: int | None = None, error: Exception | None = None) -> None:
        self.total, self.fails_at, self.error = total, fails_at, error
        self.asked: list[int] = []
        self.units_total = self.games_total = None
        self.games_cut = 0
        self.fraction_read = 0.0

    def get(self, unit: int) -> RawUnit | None:
        self.asked.append(unit)
        if unit == self.fails_at:
            raise self.error
        if unit >= self.total:
            self.units_total = self.games_total = self.total
            return None
        self.games_cut = max(self.games_cut, unit + 1)
        return RawUnit(unit=unit, games=(RawGame(number=unit, source="a.pgn", line=1, text=b"1. e4 *"),))


def soon(found: Callable[[], object]) -> object:
    """Return what `found` returns once it is something; the reading is done by a thread."""
    end_s = time.monotonic() + 10.0
    while not (value := found()):
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.001)
    return value


def taken(feed: UnitFeed, unit: int) -> int:
    return soon(lambda: feed.take(unit)).games[0].number


def test_units_are_given_in_order():
    with UnitFeed(FakeReader(100)) as feed:
        assert [taken(feed, unit) for unit in range(100)] == list(range(100))
        soon(lambda: feed.units_total == 100)
        assert (feed.games_total, feed.games_cut) == (100, 100)


def test_no_more_than_a_number_of_units_is_read_ahead():
    reader = FakeReader(1000)
    with UnitFeed(reader) as feed:
        soon(lambda: len(reader.asked) == AHEAD)
        taken(feed, 0)
        soon(lambda: len(reader.asked) == AHEAD + 1)
    assert reader.asked == list(range(AHEAD + 1))


def test_a_unit_that_was_taken_can_be_asked_for_again():
    reader = FakeReader(100)
    with UnitFeed(reader) as feed:
        for unit in range(5):
            taken(feed, unit)
        assert taken(feed, 2) == 2
        assert taken(feed, 5) == 5


def test_a_unit_far_on_is_asked_for_and_those_before_it_forgotten():
    with UnitFeed(FakeReader(5000)) as feed:
        assert taken(feed, 4000) == 4000
        assert taken(feed, 4001) == 4001
        assert feed.take(3) is None
        assert taken(feed, 3) == 3


def test_a_unit_past_the_end_never_comes_and_stops_nothing():
    reader = FakeReader(3)
    with UnitFeed(reader) as feed:
        assert feed.take(9) is None
        soon(lambda: feed.units_total == 3)
        assert feed.take(9) is None
        assert [taken(feed, unit) for unit in range(3)] == [0, 1, 2]


def test_what_reading_raises_is_raised_to_whoever_asks():
    with UnitFeed(FakeReader(9, fails_at=4, error=SourceError("a.pgn: cut off"))) as feed:
        soon(lambda: feed._error)
        for ask in (feed.check, lambda: feed.take(0)):
            with pytest.raises(SourceError, match="cut off"):
                ask()


def test_a_bug_in_reading_is_no_endless_wait():
    with UnitFeed(FakeReader(9, fails_at=0, error=ZeroDivisionError("oh"))) as feed:
        soon(lambda: feed._error)
        with pytest.raises(RookeryError, match="internal error in reading the games: ZeroDivisionError"):
            feed.check()
