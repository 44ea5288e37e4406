import pytest

from broker.stream_dispatcher import NOBODYS_S, STREAM
from common.errors import MessageError
from common.intervals import IntervalSet
from tests.broker.books import header
from tests.broker.stream_books import StreamBooks

BOTH = ("white", "black")
LEASE_S = 60.0


def stream_books(*agents: str, ahead: int = 3, units: int = 0) -> StreamBooks:
    """Books whose learners have said that they have the first `units`, and are trained on them."""
    books = StreamBooks(*agents, ahead=ahead, lease_s=LEASE_S)
    books.learners(units=units, trained=units)
    return books


# What is put into the stream


def test_nothing_is_put_into_the_stream_before_every_learner_has_said_what_it_has():
    books = StreamBooks(ahead=1)
    books.learner("white")
    assert books.cut() == []
    books.learner("black")
    assert books.cut() == [(0, BOTH)]


def test_the_stream_has_the_window_whether_there_are_actors_or_not():
    books = stream_books(ahead=3)
    assert books.cut() == [(0, BOTH), (1, BOTH), (2, BOTH)]
    assert books.cut() == []


def test_the_window_moves_with_the_slowest_learner():
    books = StreamBooks(ahead=2)
    white, black = books.learners()
    books.cut()
    white.train(2)
    assert books.cut() == []
    black.train(1)
    assert books.cut() == [(2, BOTH)]


def test_a_unit_is_put_there_for_the_agents_that_miss_it():
    books = StreamBooks(ahead=2)
    books.learner("white", units=1)
    books.learner("black")
    assert books.cut() == [(0, ("black",)), (1, BOTH)]


def test_units_end_with_the_games():
    books = StreamBooks(ahead=5, units=2)
    books.learners()
    assert [unit for unit, _ in books.cut()] == [0, 1]
    assert not books.dispatcher.finished


# Actors: what they say is for people, and for what they leave behind


def test_an_actor_gets_nothing_from_the_broker():
    books = stream_books()
    books.dispatcher.actor_joined("a", "a-1")
    books.dispatcher.capacity("a", 5)
    books.dispatcher.accept("a", accepting=True)
    assert [*books.dispatcher.actors] == [STREAM]


def test_what_actors_have_in_hand_is_what_they_say():
    books = stream_books(ahead=4)
    books.cut()
    books.dispatcher.actor_joined("a", "a-1", [0])
    books.dispatcher.actor_joined("b", "b-1")
    assert books.dispatcher.leased_for("white") == 1
    books.dispatcher.renewed("b", [1, 2], 10)
    assert books.dispatcher.leased_for("white") == 3
    books.dispatcher.renewed("b", [0, 2], 20)  # both have unit 0: counted once
    assert books.dispatcher.leased_for("white") == 2
    books.announce(2, "white")
    assert (books.dispatcher.leased_for("white"), books.dispatcher.leased_for("black")) == (1, 2)
    books.dispatcher.released("b", [2])
    books.dispatcher.released("c", [2])
    assert books.dispatcher.leased_for("black") == 1


def test_who_holds_a_unit_is_known_while_some_agent_waits_for_it():
    books = stream_books()
    books.cut()
    assert books.dispatcher.holder("white", 0) is None  # it lies there
    books.clock.advance(7.0)
    books.dispatcher.renewed("a", [0], 1)
    assert books.dispatcher.holder("white", 0) == ("a", 7.0)
    books.announce(0, "white")
    assert books.dispatcher.holder("white", 0) is None
    assert books.dispatcher.holder("black", 0) == ("a", 7.0)


def test_what_an_actor_that_leaves_had_in_hand_is_put_there_anew():
    books = stream_books()
    books.cut()
    books.dispatcher.renewed("a", [0, 1], 1)
    books.dispatcher.actor_left("a")
    assert books.replaced() == [0, 1]
    books.dispatcher.actor_left("a")
    assert books.cut() == []


def test_what_another_actor_has_in_hand_as_well_is_left_to_it():
    books = stream_books()
    books.cut()
    books.dispatcher.renewed("a", [0, 1], 1)
    books.dispatcher.renewed("b", [1], 1)
    books.dispatcher.actor_left("a")
    assert books.replaced() == [0]


def test_what_an_actor_that_leaves_was_done_with_is_not_put_there_again():
    books = stream_books()
    books.cut()
    books.dispatcher.renewed("a", [0], 1)
    books.announce(0, *BOTH)
    books.dispatcher.actor_left("a")
    assert books.cut() == []


def test_what_an_actor_has_given_back_lies_there_for_others():
    books = stream_books()
    books.cut()
    books.dispatcher.renewed("a", [0], 1)
    books.dispatcher.released("a", [0])
    books.dispatcher.actor_left("a")
    assert books.cut() == []


# Batches


def test_a_unit_is_out_until_the_stream_has_all_of_its_batches():
    books = stream_books(ahead=1)
    books.cut()
    books.announce(0, "white")
    assert books.in_stream == {0: {"black"}}
    books.announce(0, "black")
    assert books.in_stream == {}
    assert books.cut() == []


def test_a_batch_that_comes_twice_is_counted_as_a_duplicate():
    books = stream_books()
    books.cut()
    assert books.dispatcher.announced(header(0, "white"))
    assert not books.dispatcher.announced(header(0, "white"))
    ledger = books.dispatcher.ledgers["white"]
    assert (ledger.produced, ledger.duplicates, ledger.in_flight) == (200, 100, 100)


@pytest.mark.parametrize(("unit", "agent"), [(0, "red"), (3, "white"), (77, "white")])
def test_a_batch_that_cannot_be_of_this_run_is_not_announced(unit, agent):
    books = stream_books(ahead=3)
    with pytest.raises(MessageError, match=f"batch not expected: unit {unit} for {agent}"):
        books.announce(unit, agent)


def test_a_batch_may_be_announced_after_it_was_stored_whatever_the_window():
    books = StreamBooks("white", ahead=2)
    (white,) = books.learners()
    books.cut()
    books.look(batches=[("white", 0)])
    white.train(2)
    books.announce(0, "white")
    assert books.dispatcher.ledgers["white"].duplicates == 0


def test_a_batch_that_is_seen_in_the_stream_needs_nobody_to_announce_it():
    books = stream_books(ahead=1)
    books.cut()
    books.look(batches=[("white", 0)], units=[0])
    assert books.in_stream == {0: {"black"}}
    books.look(batches=[("white", 0), ("black", 0), ("red", 0)])
    assert books.in_stream == {}
    assert books.cut() == []


def test_a_batch_that_its_learner_cannot_use_is_made_again():
    books = StreamBooks(ahead=1)
    white, _ = books.learners()
    books.cut()
    books.announce(0, *BOTH)
    assert books.dispatcher.declined("white", white.session, 0)
    assert not books.dispatcher.declined("white", white.session, 0)
    unit = books.dispatcher.next_cut()
    cut = books.dispatcher.cut(unit)
    assert (cut.unit, cut.agents, cut.replaces) == (0, ["white"], True)  # its message may not be acknowledged yet


def test_a_unit_whose_batch_is_declined_while_it_is_worked_on_is_put_there_for_all_that_wait():
    books = StreamBooks(ahead=1)
    white, _ = books.learners()
    books.cut()
    books.announce(0, "white")
    books.dispatcher.declined("white", white.session, 0)
    cut = books.dispatcher.cut(books.dispatcher.next_cut())
    assert cut.replaces
    assert cut.agents == [*BOTH]


def test_units_that_every_agent_has_on_disk_are_not_needed():
    books = StreamBooks(ahead=3)
    white, black = books.learners()
    white.store(0, 1)
    black.store(1, 2)
    assert books.dispatcher.not_needed([0, 1, 2, 3]) == [1]


# A broker started anew


def test_units_that_a_broker_before_has_put_there_are_adopted():
    books = StreamBooks(ahead=3)
    books.look(units=[1, 2])
    books.learners()
    assert books.cut() == [(0, BOTH)]
    assert books.in_stream == {0: {*BOTH}, 1: {*BOTH}, 2: {*BOTH}}


def test_batches_that_lie_there_from_before_are_not_made_again():
    books = StreamBooks(ahead=3)
    books.look(units=[1], batches=[("white", 0), ("black", 0), ("white", 1)])
    books.learners()
    assert books.in_stream == {1: {"black"}}
    assert books.cut() == [(2, BOTH)]


def test_what_learners_have_stored_is_not_adopted():
    books = stream_books(units=2)
    books.look(units=[0, 1, 2])
    assert books.in_stream == {2: {*BOTH}}


def test_units_past_the_window_are_not_adopted():
    books = stream_books(ahead=3)
    books.look(units=[2, 3, 4])
    assert sorted(books.in_stream) == [2]


def test_an_adopted_unit_that_vanishes_is_put_there_again():
    books = StreamBooks(ahead=3)
    books.look(units=[1])
    books.learners()
    books.cut()
    assert books.looks(LEASE_S + 5, [0, 2]) == [1]
    assert books.cut() == [(1, BOTH)]


# Lost on the way


def test_a_unit_that_lies_there_never_runs_out():
    books = stream_books(ahead=1)
    books.cut()
    assert books.looks(10 * LEASE_S, [0]) == []
    assert books.cut() == []


def test_a_unit_that_is_still_being_put_there_never_runs_out():
    books = stream_books(ahead=1)
    books.cut()
    for _ in range(10):
        books.clock.advance(LEASE_S)
        assert books.look(on_their_way=[0]).units == []


def test_a_unit_that_is_not_seen_for_a_lease_timeout_is_put_there_again():
    books = stream_books(ahead=2)
    books.cut()
    assert books.looks(LEASE_S - 5, [1]) == []
    assert books.looks(5, [1]) == [0]
    assert books.cut() == [(0, BOTH)]


def test_a_unit_that_vanishes_once_its_batches_are_there_is_not_lost():
    books = stream_books(ahead=1)
    books.cut()
    assert books.looks(2 * LEASE_S, [], [("white", 0), ("black", 0)]) == []
    assert books.cut() == []


def test_a_unit_that_vanishes_without_one_of_its_batches_is_put_there_for_that_agent():
    books = stream_books(ahead=1)
    books.cut()
    assert books.looks(LEASE_S, [], [("white", 0)]) == [0]
    assert books.cut() == [(0, ("black",))]


def test_a_batch_that_was_announced_and_vanishes_is_made_again():
    books = stream_books(ahead=1)
    books.cut()
    books.announce(0, *BOTH)
    seen = [], [("black", 0)]
    assert books.look(*seen).units == []
    assert books.looks(LEASE_S - 5, *seen) == []
    assert books.looks(5, *seen) == [0]
    cut = books.dispatcher.cut(books.dispatcher.next_cut())
    assert (cut.unit, cut.agents, cut.replaces) == (0, ["white"], True)
    ledger = books.dispatcher.ledgers["white"]
    assert (ledger.produced, ledger.in_flight) == (0, 0)


def test_a_batch_that_is_seen_again_was_not_lost():
    books = stream_books(ahead=1)
    books.cut()
    books.announce(0, *BOTH)
    both = [("white", 0), ("black", 0)]
    for _ in range(3):
        assert books.looks(LEASE_S - 5, [], [("white", 0)]) == []
        assert books.looks(5, [], both) == []


def test_a_batch_that_has_gone_to_its_learner_is_not_lost():
    books = StreamBooks("white", ahead=1)
    (white,) = books.learners()
    books.cut()
    books.announce(0, "white")
    books.look()
    white.store(0)
    assert books.looks(2 * LEASE_S) == []
    assert books.cut() == []


# Units that nobody has


def test_a_unit_that_was_fetched_and_that_no_actor_knows_of_is_put_there_anew():
    books = stream_books(ahead=2)
    books.cut()
    books.dispatcher.renewed("a", [1], 1)
    units = [0, 1]
    assert books.looks(NOBODYS_S, units, fetched=2) == []
    assert books.looks(5, units, fetched=2) == [0]
    assert books.replaced() == [0]


def test_a_unit_that_somebody_turns_out_to_have_is_left_to_it():
    books = stream_books(ahead=1)
    books.cut()
    assert books.looks(NOBODYS_S, [0], fetched=1) == []
    books.dispatcher.renewed("a", [0], 1)
    assert books.looks(5 * NOBODYS_S, [0], fetched=1) == []


def test_units_that_wait_for_actors_are_nobodys_and_are_left_there():
    books = stream_books(ahead=3)
    books.cut()
    books.dispatcher.renewed("a", [0], 1)
    assert books.looks(5 * NOBODYS_S, [0, 1, 2], fetched=1) == []


def test_of_several_units_those_that_lie_there_for_longest_are_taken_for_the_leased_ones():
    books = stream_books(ahead=3)
    books.cut()
    books.dispatcher.renewed("a", [0], 1)
    books.dispatcher.actor_left("a")
    books.clock.advance(1.0)
    assert books.replaced() == [0]
    books.clock.advance(1.0)
    assert books.looks(NOBODYS_S + 5, [0, 1, 2], fetched=1) == [1]


def test_a_unit_on_its_way_there_is_leased_to_nobody():
    books = stream_books(ahead=1)
    books.cut()
    for _ in range(5):
        books.clock.advance(NOBODYS_S)
        assert books.look([0], fetched=1, on_their_way=[0]).units == []


def test_an_actor_that_died_and_left_no_word_costs_a_bounded_time():
    books = stream_books(ahead=2)
    books.cut()
    books.dispatcher.renewed("a", [0], 1)
    books.announce(0, "white")
    books.clock.advance(1.0)
    books.dispatcher.actor_left("a")  # and it had unit 1 as well, which it never said
    assert books.replaced() == [0]
    assert books.looks(NOBODYS_S + 5, [0, 1], [("white", 0)], fetched=1) == [1]
    assert books.replaced() == [1]


# Batches that the server never delivers


def test_a_batch_that_lies_there_while_nothing_waits_for_its_learner_is_made_again():
    books = stream_books(ahead=1)
    books.cut()
    books.announce(0, *BOTH)
    batches = [(agent, 0) for agent in BOTH]
    assert books.looks(NOBODYS_S, [], batches, idle=["white"]) == []
    books.clock.advance(5.0)
    lost = books.look([], batches, idle=["white"])
    assert (lost.units, lost.passed_over) == ([0], [("white", 0)])
    assert books.cut() == [(0, ("white",))]


def test_a_batch_that_lies_there_while_its_learner_is_busy_waits_its_turn():
    books = stream_books(ahead=1)
    books.cut()
    books.announce(0, *BOTH)
    batches = [(agent, 0) for agent in BOTH]
    for _ in range(5):
        assert books.looks(NOBODYS_S, [], batches, idle=["white"]) == []
        assert books.looks(5.0, [], batches) == []


def test_a_batch_that_came_only_now_is_not_passed_over():
    books = stream_books(ahead=3)
    books.cut()
    for unit in range(3):
        books.announce(unit, *BOTH)
        assert books.looks(NOBODYS_S, [], [("white", unit)], idle=["white"]) == []


# Learners


def test_a_store_that_has_shrunk_gets_its_units_again():
    books = StreamBooks(ahead=4)
    white, _ = books.learners(units=4)
    white.units, white.session = IntervalSet([(0, 1)]), "white-s2"
    assert white.hello() == 2
    assert books.cut() == [(2, ("white",)), (3, ("white",))]


def test_a_unit_that_is_stored_is_out_no_more_for_its_agent():
    books = StreamBooks(ahead=1)
    white, black = books.learners()
    books.cut()
    white.store(0)
    assert books.in_stream == {0: {"black"}}
    black.store(0)
    assert books.in_stream == {}


def test_a_learner_that_takes_the_place_of_another_inherits_what_is_under_way():
    books = StreamBooks()
    white, _ = books.learners()
    assert books.dispatcher.successors() == ["white", "black"]  # of a broker before, there may have been others
    white.hello()  # the same one, once more
    assert books.dispatcher.successors() == []
    books.dispatcher.learner_left("white", white.session)
    white.session = "white-s2"
    white.hello()
    assert books.dispatcher.successors() == ["white"]
    assert books.dispatcher.successors() == []
