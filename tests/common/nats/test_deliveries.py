"""What becomes of the parts of batches, without a server."""

import random

import pytest

from common import wire
from common.messages import BatchHeader
from common.nats import deliveries as nats_deliveries
from common.nats import frames as nats_frames
from common.nats import parts as nats_parts
from common.nats.deliveries import ACK, NAK, NAK_LATER, Deliveries
from common.nats.names import NatsNames

NAMES = NatsNames("rookery")
BODY = random.Random(1).randbytes(1000)


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries(NAMES, "white")


def parts(unit: int, sending: str, length: int = 400) -> list:
    header = BatchHeader(unit=unit, agent="white", transitions=1, games=1, actor="a")
    return list(nats_parts.cut(nats_frames.pack(wire.encode(header), BODY), length, sending))


def give(deliveries: Deliveries, unit: int, part, reply: str = "", now_s: float = 0.0):
    reply = reply or f"{part.sending}.{part.number}"
    return deliveries.came(NAMES.batch("white", unit), part.headers(), part.data, reply, now_s)


def test_the_last_part_makes_the_batch_and_nothing_is_told_before_it_is_stored(deliveries):
    *first, last = parts(3, "s")
    assert [give(deliveries, 3, part) for part in first] == [(None, [])] * len(first)
    delivered, told = give(deliveries, 3, last)
    assert delivered is not None
    assert (delivered.header.unit, delivered.body, told, len(deliveries)) == (3, BODY, [], 1)
    assert deliveries.stored([3]) == [(f"s.{number}", ACK) for number in range(len(first) + 1)]
    assert len(deliveries) == 0
    assert deliveries.stored([3]) == []


def test_a_sending_that_was_seen_to_is_acknowledged_when_it_comes_again(deliveries):
    for part in parts(3, "s"):
        give(deliveries, 3, part)
    deliveries.stored([3])
    assert give(deliveries, 3, parts(3, "s")[0], "again") == (None, [("again", ACK)])


def test_a_sending_that_comes_again_before_it_is_seen_to_is_handed_on_again(deliveries):
    for reply in ("first", "again"):
        for part in parts(3, "s"):
            delivered, _ = give(deliveries, 3, part, f"{reply}.{part.number}")
        assert delivered is not None
        assert len(deliveries) == 1
    assert deliveries.stored([3])[0] == ("again.0", ACK)


def test_storing_a_unit_finishes_every_copy_and_part_of_it_and_no_others(deliveries):
    for unit, sending in ((3, "one"), (3, "two"), (4, "other")):
        for part in parts(unit, sending):
            give(deliveries, unit, part)
    give(deliveries, 3, parts(3, "half")[0])
    give(deliveries, 4, parts(4, "other half")[0])
    told = {reply.split(".")[0] for reply, word in deliveries.stored([3]) if word == ACK}
    assert told == {"one", "two", "half"}
    assert len(deliveries) == 1


def test_declining_finishes_the_first_copy_alone(deliveries):
    for sending in ("one", "two"):
        for part in parts(3, sending):
            give(deliveries, 3, part)
    assert {reply.split(".")[0] for reply, _ in deliveries.declined(3)} == {"one"}
    assert len(deliveries) == 1
    assert deliveries.declined(7) == []


def test_what_nobody_completes_is_given_up_after_a_while(deliveries):
    give(deliveries, 3, parts(3, "s")[0], now_s=1.0)
    assert deliveries.tidy(nats_deliveries.ABANDONED_S) == []
    assert deliveries.tidy(2.0 + nats_deliveries.ABANDONED_S) == [("s.0", ACK)]


def test_what_there_is_no_room_for_is_to_come_later(deliveries, monkeypatch):
    monkeypatch.setattr(deliveries._joiner, "_max_sendings", 1)
    give(deliveries, 3, parts(3, "s")[0])
    assert give(deliveries, 4, parts(4, "t")[0]) == (None, [("s.0", NAK_LATER)])
    assert NAK_LATER == b'-NAK {"delay": 5000000000}'
    for part in parts(3, "s"):
        delivered, _ = give(deliveries, 3, part)
    assert delivered is not None


def test_what_is_left_at_the_end_is_given_back(deliveries):
    for part in parts(3, "s"):
        give(deliveries, 3, part)
    give(deliveries, 4, parts(4, "t")[0])
    told = deliveries.give_back()
    assert {word for _, word in told} == {NAK}
    assert len(told) == len(parts(3, "s")) + 1


def test_a_part_of_another_unit_than_the_others_is_dropped_alone(deliveries):
    first, *rest = parts(3, "s")
    give(deliveries, 3, first)
    delivered, told = give(deliveries, 4, rest[0], "odd")
    assert (delivered, told) == (None, [("odd", ACK)])
    for part in rest:
        delivered, _ = give(deliveries, 3, part)
    assert delivered is not None


def test_parts_that_make_no_batch_are_dropped_together(deliveries):
    payload = b"no batch at all " * 60
    for part in nats_parts.cut(payload, 400, "s"):
        delivered, told = give(deliveries, 3, part)
    assert delivered is None
    assert told == [(f"s.{number}", ACK) for number in range(3)]
    assert deliveries.dropped == 1


def test_another_agents_subject_is_refused(deliveries):
    part = parts(3, "s")[0]
    assert deliveries.came(NAMES.batch("black", 3), part.headers(), part.data, "r", 0.0) == (None, [("r", ACK)])
