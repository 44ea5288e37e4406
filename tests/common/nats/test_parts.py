import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import MessageError
from common.nats.parts import Joiner, Part, Spoiled, cut, new_sending, part_of

EACH, ALL, MANY = 1000, 3000, 5
"""Limits of the joiner under test: bytes of a payload, bytes of all, sendings."""


def joiner() -> Joiner:
    return Joiner(max_payload_bytes=EACH, max_bytes=ALL, max_sendings=MANY)


def part(sending="s", number=0, count=2, size_bytes=20, data=b"x" * 10) -> Part:
    return Part(sending=sending, number=number, count=count, size_bytes=size_bytes, data=data)


payloads = st.binary(max_size=EACH)
lengths = st.integers(1, 300)


@given(payloads, lengths)
def test_a_payload_is_cut_into_parts_no_longer_than_that(payload, length):
    parts = list(cut(payload, length, "s"))
    assert b"".join(part.data for part in parts) == payload
    assert all(len(part.data) <= length for part in parts)
    assert [(part.number, part.count, part.size_bytes) for part in parts] == [
        (number, len(parts), len(payload)) for number in range(len(parts))
    ]


@given(payloads, lengths)
def test_a_part_is_carried_by_its_headers(payload, length):
    for each in cut(payload, length, new_sending()):
        assert part_of(each.headers(), each.data) == each


@given(st.data())
def test_sendings_that_come_in_any_order_doubled_and_between_each_other_are_joined(data):
    sent = {f"s{number}": data.draw(payloads) for number in range(data.draw(st.integers(1, MANY)))}
    room = Joiner(max_payload_bytes=EACH, max_bytes=MANY * EACH, max_sendings=MANY)
    parts = [each for name, payload in sent.items() for each in cut(payload, data.draw(lengths), name)]
    parts = data.draw(st.permutations(parts + data.draw(st.lists(st.sampled_from(parts), max_size=5))))
    came: dict[str, list[bytes]] = {name: [] for name in sent}
    for at, each in enumerate(parts):
        joined = room.add(each, at, 0.0)
        if joined is not None:
            came[joined.sending].append(joined.payload)
            assert [parts[token].number for token in joined.tokens] == list(range(each.count))
    for name, payload in sent.items():
        assert came[name]
        assert set(came[name]) == {payload}
    assert room.pushed_out() == []


@given(st.data())
def test_memory_and_sendings_are_bounded_whatever_comes_and_every_token_comes_back_once(data):
    room = joiner()
    given_tokens, back = [], []
    for token in range(data.draw(st.integers(0, 40))):
        size, count = data.draw(st.integers(2, 2 * EACH)), data.draw(st.integers(2, 4))
        each = part(
            sending=f"s{data.draw(st.integers(0, 9))}", number=data.draw(st.integers(0, count - 1)), count=count,
            size_bytes=size, data=b"x" * data.draw(st.integers(1, min(size, EACH))),
        )  # fmt: skip
        given_tokens.append(token)
        try:
            joined = room.add(each, token, float(token))
            back += joined.tokens if joined else []
        except Spoiled as error:
            back += error.tokens
        except MessageError:
            back.append(token)
        for _, tokens in room.pushed_out():
            back += tokens
        stats = room.stats()
        assert stats.held_bytes <= ALL
        assert stats.sendings <= MANY
    for _, tokens in room.abandoned(float("inf")):
        back += tokens
    assert room.stats().held_bytes == room.stats().sendings == 0
    assert len(back) == len(set(back))
    assert set(back) <= set(given_tokens)  # the earlier token of a double is the later's


def test_missing_parts_keep_a_sending_waiting_and_it_is_abandoned_after_a_while():
    room = joiner()
    room.add(part("early"), "token", 1.0)
    room.add(part("late"), "other", 5.0)
    assert room.abandoned(2.0) == [("early", ["token"])]
    assert "early" not in room
    assert "late" in room


def test_a_sending_is_not_abandoned_while_parts_of_it_come():
    room = joiner()
    for number, now_s in ((0, 1.0), (1, 4.0)):
        room.add(part(number=number, count=3, size_bytes=30), number, now_s)
    assert room.abandoned(3.0) == []


def test_doubles_keep_no_sending_from_being_abandoned():
    room = joiner()
    room.add(part(), "token", 1.0)
    room.add(part(), "again", 9.0)
    assert room.abandoned(2.0) == [("s", ["again"])]


def test_what_there_is_no_room_for_pushes_out_what_has_waited_longest():
    room = joiner()
    for number in range(MANY + 1):
        room.add(part(f"s{number}"), number, 0.0)
    assert room.pushed_out() == [("s0", [0])]
    assert room.pushed_out() == []


def test_of_a_double_the_later_token_counts():
    room = joiner()
    room.add(part(number=0), "first", 0.0)
    room.add(part(number=0), "again", 0.0)
    joined = room.add(part(number=1), "last", 0.0)
    assert joined is not None
    assert joined.tokens == ["again", "last"]


def test_a_payload_that_is_too_large_is_refused_at_its_first_part():
    room = joiner()
    for count in (1, 2):
        with pytest.raises(MessageError, match="over 1000"):
            room.add(part(count=count, size_bytes=EACH + 1), None, 0.0)
    assert room.stats().sendings == 0


def test_a_part_that_does_not_fit_the_others_is_refused_and_they_stay():
    room = joiner()
    room.add(part(number=0), "zero", 0.0)
    for odd in (part(number=1, count=3), part(number=1, size_bytes=30), part(number=1, data=b"y" * 11)):
        with pytest.raises(MessageError):
            room.add(odd, "odd", 0.0)
    joined = room.add(part(number=1, data=b"y" * 10), "one", 0.0)
    assert joined is not None
    assert joined.payload == b"x" * 10 + b"y" * 10


def test_parts_that_make_no_whole_give_their_tokens_back():
    room = joiner()
    room.add(part(number=0), "zero", 0.0)
    with pytest.raises(Spoiled) as caught:
        room.add(part(number=1, data=b"y"), "one", 0.0)
    assert caught.value.tokens == ["zero", "one"]
    assert room.stats().held_bytes == 0


def test_a_forgotten_sending_gives_its_tokens_back():
    room = joiner()
    room.add(part(), "token", 0.0)
    assert room.forget("s") == ["token"]
    assert room.forget("s") == []


GOOD = {"Sending": "abc", "Part": "0", "Parts": "1", "Size": "3"}


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        *({name: text for name, text in GOOD.items() if name != left_out} for left_out in GOOD),
        *(
            GOOD | {name: text}
            for name, text in itertools.product(
                ("Part", "Parts", "Size"), ("", "-1", "x", "1.0", "9" * 13, "¹", " 1")
            )
        ),
        GOOD | {"Sending": "a b"},
        GOOD | {"Sending": "x" * 65},
        GOOD | {"Part": "1"},
        GOOD | {"Parts": "0"},
        GOOD | {"Size": "2"},
        GOOD | {"Parts": "2000000"},
    ],
)
def test_what_is_no_part_is_refused(headers):
    with pytest.raises(MessageError):
        part_of(headers, b"xyz")


def test_an_empty_part_of_something_is_refused():
    with pytest.raises(MessageError):
        part_of(GOOD | {"Parts": "2"}, b"")
    assert part_of(GOOD | {"Size": "0"}, b"").data == b""
