import pytest

from common.nats.connection import place_of
from common.nats.units_in_hand import FINISHED_MAX, Arrival, UnitsInHand


@pytest.fixture
def hand() -> UnitsInHand:
    hand = UnitsInHand()
    assert hand.came(3, ["white", "black"], (1, 100), "r1") is Arrival.NEW
    return hand


def test_a_unit_is_to_be_acknowledged_once_all_of_its_batches_are_stored(hand):
    assert hand.stored(3, "white") is None
    assert hand.stored(3, "white") is None
    assert hand.stored(3, "black") == "r1"
    assert 3 not in hand
    assert hand.stored(3, "black") is None


def test_batches_of_units_that_are_not_in_hand_change_nothing(hand):
    assert hand.stored(4, "white") is None
    assert len(hand) == 1


def test_a_unit_that_comes_again_is_known_and_answered_at_its_last_place(hand):
    assert hand.came(3, ["white", "black"], (1, 100), "r2") is Arrival.AGAIN
    hand.stored(3, "white")
    assert hand.stored(3, "black") == "r2"


def test_a_unit_that_comes_again_keeps_what_is_stored(hand):
    hand.stored(3, "white")
    hand.came(3, ["white", "black"], (1, 100), "r2")
    assert hand.stored(3, "black") == "r2"


def test_a_unit_that_was_published_again_takes_the_place_of_the_one_in_hand(hand):
    hand.stored(3, "white")
    assert hand.came(3, ["white"], (9, 900), "r9") is Arrival.AGAIN
    assert hand.stored(3, "white") == "r9"


def test_a_unit_that_was_done_is_known(hand):
    for agent in ("white", "black"):
        hand.stored(3, agent)
    assert hand.came(3, ["white", "black"], (1, 100), "r2") is Arrival.FINISHED
    assert hand.came(3, ["white"], (1, 999), "r3") is Arrival.NEW  # a server that gives numbers again


def test_units_are_given_back_and_come_anew(hand):
    assert hand.replies([3, 4]) == ["r1"]
    assert hand.give_back([3, 4]) == ["r1"]
    assert hand.all() == []
    assert hand.came(3, ["white"], (1, 100), "r2") is Arrival.NEW


def test_what_is_remembered_is_bounded():
    hand = UnitsInHand()
    for number in range(2 * FINISHED_MAX):
        hand.came(number, ["white"], (number, 0), "")
        hand.stored(number, "white")
    assert len(hand._finished) == FINISHED_MAX


class Message:
    def __init__(self, reply: str) -> None:
        self.reply = reply


@pytest.mark.parametrize(
    ("reply", "place"),
    [
        ("$JS.ACK.R-units.actors.3.17.21.1795338202095839433.0", (17, 1795338202095839433)),
        ("$JS.ACK._.AHASH.R-units.actors.3.17.21.1795338202095839433.0.random", (17, 1795338202095839433)),
        ("$JS.ACK.hub.AHASH.R-units.actors.3.17.21.1795338202095839433.0", (17, 1795338202095839433)),
        ("", (0, 0)),
        ("a.b", (0, 0)),
        ("$JS.ACK.R-units.actors.3.x.21.1795338202095839433.0", (0, 0)),
    ],
)
def test_a_messages_place_is_read_from_where_it_is_acknowledged(reply, place):
    assert place_of(Message(reply)) == place
