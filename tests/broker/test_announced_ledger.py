from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.announced_ledger import AnnouncedLedger
from common.intervals import IntervalSet
from tests.broker.books import ROWS, header, stored_unit, totals


def ledger_of(units: int = 0) -> AnnouncedLedger:
    """Books of an agent whose learner has said that it has the first `units`."""
    ledger = AnnouncedLedger("white")
    ledger.join("s1", IntervalSet([(0, units - 1)] if units else []), 0, totals(units))
    return ledger


def hear(ledger: AnnouncedLedger, what: str, unit: int) -> None:
    """Have the books hear of a batch in one of the three ways."""
    match what:
        case "announced":
            ledger.receive(header(unit, "white"))
        case "found":
            ledger.found(unit)
        case "stored":
            ledger.acknowledge([stored_unit(unit)], totals(ledger.stored.count + (unit not in ledger.stored)))


def sums(ledger: AnnouncedLedger) -> tuple[int, int, int, int]:
    assert ledger.closed
    return ledger.produced, ledger.transitions_stored, ledger.duplicates, ledger.in_flight


# What is heard, in any order


@pytest.mark.parametrize("order", [*permutations(("announced", "found", "stored"))], ids=" ".join)
def test_a_batch_is_counted_once_in_whatever_order_it_is_heard_of(order):
    ledger = ledger_of()
    for what in order:
        hear(ledger, what, 0)
        assert ledger.closed
    assert sums(ledger) == (ROWS, ROWS, 0, 0)
    assert ledger.unannounced == {}


@pytest.mark.parametrize(
    "heard", [("stored",), ("announced", "stored"), ("found", "stored"), ("found", "announced")], ids=" ".join
)
def test_the_books_close_where_words_get_lost(heard):
    ledger = ledger_of()
    for what in heard:
        hear(ledger, what, 0)
    in_flight = 0 if "stored" in heard else ROWS
    assert sums(ledger) == (ROWS, ROWS - in_flight, 0, in_flight)


def test_a_batch_that_was_only_found_counts_nothing_until_somebody_says_how_much_it_is():
    ledger = ledger_of()
    assert ledger.found(0)
    assert ledger.has(0)
    assert sums(ledger) == (0, 0, 0, 0)


def test_a_batch_is_found_once():
    ledger = ledger_of(units=1)
    assert not ledger.found(0)
    assert ledger.found(1)
    assert not ledger.found(1)
    hear(ledger, "announced", 2)
    assert not ledger.found(2)


@pytest.mark.parametrize(
    "order", [*permutations(("announced", "found", "stored", "announced again"))], ids=" ".join
)
def test_a_second_copy_is_a_duplicate_in_whatever_order_it_is_heard_of(order):
    ledger = ledger_of()
    for what in order:
        hear(ledger, what.removesuffix(" again"), 0)
    assert sums(ledger) == (2 * ROWS, ROWS, ROWS, 0)


def test_the_first_word_of_a_batch_is_new_and_the_second_is_not():
    ledger = ledger_of()
    ledger.found(0)
    assert ledger.receive(header(0, "white"))
    assert not ledger.receive(header(0, "white"))
    assert sums(ledger) == (2 * ROWS, 0, ROWS, ROWS)


def test_what_the_learner_says_of_a_batch_counts_more_than_what_its_actor_said():
    ledger = ledger_of()
    ledger.receive(header(0, "white", transitions=ROWS + 7))
    hear(ledger, "stored", 0)
    assert sums(ledger) == (ROWS, ROWS, 0, 0)


def test_a_unit_that_is_acknowledged_twice_is_counted_once():
    ledger = ledger_of()
    for what in ("announced", "stored", "stored"):
        hear(ledger, what, 0)
    assert sums(ledger) == (ROWS, ROWS, 0, 0)


def test_of_too_many_units_that_nobody_announced_the_last_are_remembered(monkeypatch):
    monkeypatch.setattr("broker.announced_ledger.MAX_UNANNOUNCED", 2)
    ledger = ledger_of()
    for unit in range(3):
        ledger.found(unit)
    assert [*ledger.unannounced] == [1, 2]
    for unit in range(3):
        hear(ledger, "announced", unit)
    assert sums(ledger) == (3 * ROWS, 0, ROWS, 2 * ROWS)
    for unit in range(3):
        hear(ledger, "stored", unit)
    assert sums(ledger) == (4 * ROWS, 3 * ROWS, ROWS, 0)


# What goes


def test_a_batch_that_its_learner_cannot_use_was_never_made():
    ledger = ledger_of()
    hear(ledger, "announced", 0)
    assert ledger.decline(0)
    assert not ledger.decline(0)
    assert sums(ledger) == (0, 0, 0, 0)


def test_a_batch_made_again_after_one_that_was_found_and_declined_is_in_the_stream():
    ledger = ledger_of()
    ledger.found(0)
    ledger.decline(0)
    assert ledger.receive(header(0, "white"))
    assert ledger.has(0)
    assert sums(ledger) == (ROWS, 0, 0, ROWS)
    hear(ledger, "stored", 0)
    assert sums(ledger) == (ROWS, ROWS, 0, 0)


def test_a_batch_made_again_after_a_store_has_lost_it_is_in_the_stream():
    ledger = ledger_of()
    hear(ledger, "stored", 0)  # nobody has announced it
    ledger.join("s2", IntervalSet(), 0, totals(0))
    assert ledger.receive(header(0, "white"))
    assert ledger.has(0)
    assert sums(ledger) == (ROWS, 0, 0, ROWS)


def test_a_learner_that_says_hello_has_what_it_stored_while_nobody_heard_it():
    ledger = ledger_of()
    hear(ledger, "announced", 0)
    ledger.found(1)
    hear(ledger, "announced", 2)
    assert ledger.join("s2", IntervalSet([(0, 1)]), 0, totals(2)) == 0
    assert sums(ledger) == (3 * ROWS, 2 * ROWS, 0, ROWS)
    hear(ledger, "announced", 1)  # late
    assert sums(ledger) == (3 * ROWS, 2 * ROWS, 0, ROWS)


HEARD = ("announced", "found", "stored", "declined", "hello", "hello with nothing")


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(HEARD), st.integers(0, 1)), min_size=3, max_size=12))
def test_the_books_close_whatever_is_heard(heard):
    ledger = ledger_of()
    for what, unit in heard:
        match what:
            case "declined":
                ledger.decline(unit)
            case "hello":
                ledger.join("s2", IntervalSet(ledger.stored), 0, totals(ledger.stored.count))
            case "hello with nothing":
                ledger.join("s3", IntervalSet(), 0, totals(0))
            case _:
                hear(ledger, what, unit)
                assert ledger.has(unit), "heard of, and not known"
        assert ledger.closed
        assert not [unit for unit in ledger.held if unit in ledger.stored]
