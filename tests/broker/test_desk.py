"""What a broker keeps of the games that it has read."""

from broker import desk as broker_desk
from broker.desk import Desk
from broker.dispatcher import Dispatcher
from common.intervals import IntervalSet
from common.messages import RawGame, StoreTotals
from common.words import AgentName, Unit


class ReadyFeed:
    """A feed that has read everything; it hands out each unit once."""

    units_total = games_total = None

    def __init__(self) -> None:
        self.taken: list[Unit] = []

    def take(self, unit: Unit) -> "ReadyFeed | None":
        self.taken.append(unit)
        return self

    @property
    def games(self) -> list[RawGame]:
        return [RawGame(number=self.taken[-1], source="games.pgn", line=1, text=b"1. e4 *")]

    def check(self) -> None:
        pass


def desk_of(dispatcher: Dispatcher, feed: ReadyFeed) -> Desk:
    return Desk(
        dispatcher=dispatcher, feed=feed, identity={}, session="b", software="0", reply=lambda *_: True,
        leases=dispatcher, weights=None, send_weights=lambda *_: None, clock=lambda: 0.0,
    )  # fmt: skip


def test_games_are_kept_until_every_agent_has_their_unit(monkeypatch):
    monkeypatch.setattr(broker_desk, "LOOKED_AT_MAX", 2)  # however many there are, all are looked at in turn
    white = AgentName("white")
    dispatcher = Dispatcher([white], max_units_ahead=8, lease_timeout_s=60.0, clock=lambda: 0.0)
    feed = ReadyFeed()
    desk = desk_of(dispatcher, feed)
    for unit in range(6):
        assert desk.games_of(Unit(unit))
    dispatcher.learner_joined(white, "s", IntervalSet([(2, 3), (5, 5)]), 0, StoreTotals(units=3))
    for _ in range(3):
        desk.tick()
    for unit in range(6):
        desk.games_of(Unit(unit))
    assert feed.taken == [0, 1, 2, 3, 4, 5, 2, 3, 5]


def test_a_tick_looks_at_a_bounded_number_of_units():
    looked_at: list[Unit] = []

    class Watched(Dispatcher):
        def needed(self, unit: Unit) -> bool:
            looked_at.append(unit)
            return True

    desk = desk_of(Watched([], max_units_ahead=8, lease_timeout_s=60.0, clock=lambda: 0.0), ReadyFeed())
    for unit in range(3 * broker_desk.LOOKED_AT_MAX):
        desk.games_of(Unit(unit))
    desk.tick()
    assert looked_at == [*range(broker_desk.LOOKED_AT_MAX)]
