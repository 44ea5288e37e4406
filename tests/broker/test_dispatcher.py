import pytest

from broker.dispatcher import STRAGGLER_TIMEOUTS
from common.intervals import IntervalSet
from common.messages import StoreTotals
from tests.broker.books import Books, header, stored_unit, totals

BOTH = ("white", "black")


# What is leased, and when


def test_nothing_is_leased_before_every_learner_has_said_what_it_has():
    books = Books()
    books.actor("a")
    books.learner("white")
    assert books.leased() == []
    books.learner("black")
    assert books.leased() == [("a", 0, BOTH)]


def test_units_are_leased_in_order_for_all_agents_that_miss_them():
    books = Books()
    books.learner("white", units=2)
    books.learner("black", units=1)
    books.actor("a", capacity=3)
    assert books.leased() == [("a", 1, ("black",)), ("a", 2, BOTH), ("a", 3, BOTH)]


def test_no_unit_is_leased_past_the_window_of_the_slowest_learner():
    books = Books(ahead=4)
    white, black = books.learners()
    books.actor("a", capacity=64)
    assert [unit for _, unit, _ in books.leased()] == [0, 1, 2, 3]
    white.train(3)
    assert books.leased() == []
    black.train(1)
    assert [unit for _, unit, _ in books.leased()] == [4]


def test_the_window_ends_with_the_units():
    books = Books(units=2)
    books.learners()
    books.actor("a", capacity=64)
    assert [unit for _, unit, _ in books.leased()] == [0, 1]
    assert not books.dispatcher.finished


def test_a_run_without_units_is_finished_at_once():
    books = Books(units=0)
    books.learners()
    assert books.dispatcher.finished


def test_a_run_is_finished_when_every_agent_is_trained_on_every_unit():
    books = Books(units=2)
    white, black = books.learners()
    white.train(2)
    black.train(1)
    assert not books.dispatcher.finished
    black.train(2)
    assert books.dispatcher.finished


def test_a_long_stored_stretch_is_passed_over_at_once():
    books = Books("white", ahead=3)
    books.learner("white", units=2**50, trained=2**50)
    books.actor("a", capacity=2)
    assert [unit for _, unit, _ in books.leased()] == [2**50, 2**50 + 1]


# Turns


def test_actors_take_turns():
    books = Books("white", ahead=100)
    books.learners()
    for name in "abc":
        books.actor(name, capacity=2)
    assert [actor for actor, _, _ in books.leased()] == list("abcabc")


def test_an_actor_that_asks_often_gets_no_more_than_its_turn():
    books = Books("white", ahead=3)
    (white,) = books.learners()
    books.actor("a", capacity=9)
    books.actor("b", capacity=9)
    for _ in range(5):
        books.dispatcher.capacity("a", 9)
    assert [actor for actor, _, _ in books.leased()] == ["a", "b", "a"]
    white.train(3)
    assert [actor for actor, _, _ in books.leased()] == ["b", "a", "b"]


def test_an_actor_gets_no_more_than_it_can_hold():
    books = Books(ahead=100)
    books.learners()
    books.actor("a", capacity=2)
    assert len(books.leased()) == 2
    books.receive(0, "white")
    assert books.leased() == []
    books.receive(0, "black")
    assert books.leased() == [("a", 2, BOTH)]
    books.dispatcher.capacity("a", 0)
    books.receive(1, "white")
    books.receive(1, "black")
    assert books.leased() == []


def test_a_paused_actor_gets_nothing_until_it_may_again():
    books = Books()
    books.learners()
    books.actor("a")
    books.dispatcher.accept("a", accepting=False)
    books.dispatcher.capacity("a", 5)
    assert books.leased() == []
    books.dispatcher.accept("a", accepting=True)
    assert len(books.leased()) == 5


# Leases that end


def test_an_expired_lease_is_granted_again_only_for_the_agents_that_miss_it():
    books = Books()
    books.learners()
    books.actor("a")
    books.actor("b", capacity=0)
    assert books.leased() == [("a", 0, BOTH)]
    books.receive(0, "white")
    books.clock.advance(60.0)
    assert books.dispatcher.expire() == [("a", 0)]
    books.dispatcher.capacity("b", 1)
    assert books.leased() == [("b", 0, ("black",))]


def test_an_actor_whose_lease_ran_out_gets_nothing_until_it_speaks_again():
    books = Books()
    books.learners()
    books.actor("a")
    books.leased()
    books.clock.advance(60.0)
    books.dispatcher.expire()
    assert books.leased() == []
    books.dispatcher.renewed("a", [], 0)
    books.dispatcher.capacity("a", 1)
    assert books.leased() == [("a", 0, BOTH)]


def test_units_that_an_actor_was_late_with_take_up_its_room_until_it_lets_go_of_them():
    books = Books(ahead=100)
    books.learners()
    books.actor("hung", capacity=3)
    assert [unit for _, unit, _ in books.leased()] == [0, 1, 2]
    for _ in range(62):  # its engine hangs, its heartbeat goes on
        books.clock.advance(1.0)
        books.dispatcher.renewed("hung", [0, 1, 2], 7)
        books.dispatcher.capacity("hung", 3)
        books.dispatcher.expire()
    assert books.dispatcher.actors["hung"].overdue == {0, 1, 2}
    assert books.leased() == []
    books.actor("b", capacity=4)
    assert [(actor, unit) for actor, unit, _ in books.leased()] == [("b", 0), ("b", 1), ("b", 2), ("b", 3)]
    books.dispatcher.renewed("hung", [1, 2], 8)  # it has got over it, and is done with one of them
    books.dispatcher.released("hung", [1])
    books.dispatcher.capacity("hung", 3)
    assert [(actor, unit) for actor, unit, _ in books.leased()] == [("hung", 4), ("hung", 5)]


def test_an_actor_that_gets_on_but_slowly_loses_its_units_to_one_that_has_nothing_to_do():
    books = Books(ahead=2, lease_s=60.0)
    books.learners()
    books.actor("slow", capacity=2)
    books.leased()
    books.actor("idle", capacity=2)

    def a_while_passes(lease_timeouts: float) -> list[tuple[str, int]]:
        expired = []
        for _ in range(round(2 * lease_timeouts)):
            books.clock.advance(30.0)
            positions = books.dispatcher.actors["slow"].positions + 1
            books.dispatcher.renewed("slow", [0, 1], positions)
            expired += books.dispatcher.expire()
        return expired

    assert a_while_passes(STRAGGLER_TIMEOUTS - 1) == []
    assert a_while_passes(1) == [("slow", 0), ("slow", 1)]
    assert [(actor, unit) for actor, unit, _ in books.leased()] == [("idle", 0), ("idle", 1)]
    assert books.receive(0, "white", "slow")
    assert not books.receive(0, "white", "idle")


@pytest.mark.parametrize("ahead", [2, 9], ids=["nobody waits", "there is other work"])
def test_a_slow_actor_keeps_its_units_while_nobody_needs_them(ahead):
    books = Books(ahead=ahead, lease_s=60.0)
    books.learners()
    books.actor("slow", capacity=2)
    books.leased()
    books.actor("other", capacity=2 if ahead > 2 else 0)
    for positions in range(1, 4 * STRAGGLER_TIMEOUTS):
        books.clock.advance(30.0)
        books.dispatcher.renewed("slow", [0, 1], positions)
        assert books.dispatcher.expire() == []


def test_units_given_back_are_leased_again_before_new_ones_smallest_first():
    books = Books(ahead=100)
    books.learners()
    books.actor("a", capacity=4)
    books.leased()
    books.dispatcher.released("a", [2, 0])
    books.actor("b", capacity=3)
    books.dispatcher.capacity("a", 0)
    assert [(actor, unit) for actor, unit, _ in books.leased()] == [("b", 0), ("b", 2), ("b", 4)]


def test_a_lease_lives_on_only_while_there_is_progress():
    books = Books(lease_s=60.0)
    books.learners()
    books.actor("a")
    books.leased()
    for positions in (10, 20, 30):
        books.clock.advance(59.0)
        books.dispatcher.renewed("a", [0], positions)
        assert books.dispatcher.expire() == []
    for _ in range(3):  # the same figure again: no progress
        books.clock.advance(20.0)
        books.dispatcher.renewed("a", [0], 30)
    assert books.dispatcher.expire() == [("a", 0)]


def test_a_counter_that_began_anew_counts_from_there():
    books = Books()
    books.learners()
    books.actor("a")
    books.leased()
    books.dispatcher.renewed("a", [0], 500)
    books.dispatcher.renewed("a", [0], 3)
    books.clock.advance(59.0)
    books.dispatcher.renewed("a", [0], 4)
    books.clock.advance(59.0)
    assert books.dispatcher.expire() == []


def test_a_unit_that_is_not_in_hand_is_not_renewed():
    books = Books(ahead=100)
    books.learners()
    books.actor("a", capacity=2)
    books.leased()
    books.clock.advance(30.0)
    books.dispatcher.renewed("a", [1], 10)  # the lease of unit 0 never reached it
    books.clock.advance(30.0)
    assert books.dispatcher.expire() == [("a", 0)]


def test_what_an_actor_does_not_hold_it_cannot_give_back():
    books = Books()
    books.learners()
    books.actor("a")
    books.actor("b", capacity=0)
    books.leased()
    books.dispatcher.released("b", [0, 77])
    books.dispatcher.renewed("b", [0, 77], 5)
    books.dispatcher.capacity("b", 9)
    assert 0 not in [unit for _, unit, _ in books.leased()]


def test_an_actor_started_anew_under_its_name_gives_back_what_it_held():
    books = Books()
    books.learners()
    books.actor("a", capacity=2)
    books.leased()
    books.receive(0, "white")
    books.actor("a", capacity=2, session="2")
    assert books.leased() == [("a", 0, ("black",)), ("a", 1, BOTH)]


def test_the_same_session_that_says_hello_again_keeps_what_it_holds():
    books = Books()
    books.learners()
    books.actor("a")
    books.leased()
    books.dispatcher.actor_joined("a", "a-1", [0])
    assert books.leased() == []
    assert books.dispatcher.leased_for("white") == 1


def test_an_actor_that_leaves_gives_everything_back():
    books = Books()
    books.learners()
    books.actor("a", capacity=2)
    books.leased()
    books.dispatcher.actor_left("a")
    books.dispatcher.actor_left("a")
    books.actor("b", capacity=2)
    assert books.leased() == [("b", 0, BOTH), ("b", 1, BOTH)]


# A broker started anew


def test_units_in_hand_from_a_broker_that_is_gone_are_adopted():
    books = Books()
    books.learner("white", units=5)
    books.learner("black", units=4)
    books.actor("a", capacity=2, units=(4, 6))
    assert books.dispatcher.actors["a"].leases[4].agents == {"black"}
    assert books.dispatcher.actors["a"].leases[6].agents == {*BOTH}
    books.actor("b", capacity=3)
    assert books.leased() == [("b", 5, BOTH), ("b", 7, BOTH), ("b", 8, BOTH)]


def test_units_in_hand_are_adopted_before_the_learners_have_said_what_they_have():
    books = Books()
    books.actor("a", capacity=2, units=(0, 1))
    books.learner("white", units=1)
    books.learner("black", units=1)
    books.check()
    assert list(books.dispatcher.actors["a"].leases) == [1]
    assert books.leased() == [("a", 2, BOTH)]


def test_a_unit_that_two_have_in_hand_is_adopted_once():
    books = Books()
    books.learners()
    books.actor("a", units=(0,))
    books.actor("b", units=(0,))
    books.check()
    assert (list(books.dispatcher.actors["a"].leases), list(books.dispatcher.actors["b"].leases)) == ([0], [])


def test_an_adopted_unit_that_makes_no_progress_is_leased_again():
    books = Books()
    books.learners()
    books.actor("a", capacity=1, units=(3,))
    books.actor("b", capacity=9)
    assert [unit for _, unit, _ in books.leased()] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    books.clock.advance(60.0)
    assert ("a", 3) in books.dispatcher.expire()
    books.actor("c", capacity=64)
    assert ("c", 3, BOTH) in books.leased()


def test_a_batch_delivered_by_a_broker_that_is_gone_is_accounted_for():
    books = Books()
    white, _ = books.learners(units=3)
    white.store(3)  # never held here
    books.check()
    ledger = books.dispatcher.ledgers["white"]
    assert (ledger.produced, ledger.closed) == (400, True)
    books.actor("a")
    assert books.leased() == [("a", 3, ("black",))]


# Batches


def test_a_batch_that_came_is_leased_no_more_for_its_agent():
    books = Books()
    books.learners()
    books.actor("a")
    books.leased()
    books.receive(0, "white", actor="a")
    assert books.dispatcher.leased_for("white") == 0
    assert books.dispatcher.leased_for("black") == 1


def test_a_second_copy_is_counted_as_a_duplicate_and_dropped():
    books = Books()
    white, _ = books.learners()
    assert books.receive(0, "white")
    assert not books.receive(0, "white")
    white.credit(9)
    assert white.deliveries() == [0]
    white.store(0)
    assert not books.receive(0, "white")
    ledger = books.dispatcher.ledgers["white"]
    assert (ledger.produced, ledger.duplicates, ledger.in_flight, ledger.closed) == (300, 200, 0, True)


def test_a_batch_from_an_actor_whose_lease_ran_out_ends_the_lease_of_the_next():
    books = Books()
    books.learners()
    books.actor("a")
    books.leased()
    books.clock.advance(60.0)
    books.dispatcher.expire()
    books.actor("b")
    assert books.leased() == [("b", 0, BOTH)]
    books.receive(0, "white", actor="a")
    books.receive(0, "black", actor="a")
    assert books.dispatcher.actors["b"].leases == {}
    assert books.leased() == [("b", 1, BOTH)]


def test_a_batch_of_an_unknown_agent_or_beyond_the_units_is_not_expected():
    books = Books(units=5)
    books.learners()
    assert books.dispatcher.expects(header(4, "white"))
    assert not books.dispatcher.expects(header(5, "white"))
    assert not books.dispatcher.expects(header(0, "red"))


def test_a_batch_past_the_window_that_nobody_can_have_leased_is_not_expected():
    books = Books(ahead=4)
    books.learners()
    assert books.dispatcher.expects(header(3, "white"))
    assert not books.dispatcher.expects(header(4, "white"))


def test_up_to_a_window_of_batches_is_taken_before_the_learners_have_said_what_they_have():
    books = Books(ahead=3)
    for unit in (7, 8, 9):
        assert books.receive(unit, "white")
    assert not books.dispatcher.expects(header(10, "white"))
    books.learner("white", units=8)
    books.check()
    assert sorted(books.dispatcher.ledgers["white"].held) == [8, 9]


def test_a_batch_leased_before_a_learner_came_back_with_less_training_is_taken():
    books = Books(ahead=4)
    white, _ = books.learners(units=6, trained=6)
    books.actor("a", capacity=4)
    assert [unit for _, unit, _ in books.leased()] == [6, 7, 8, 9]
    white.session, white.trained = "white-s2", 0  # its last checkpoint was the first
    white.hello()
    assert books.dispatcher.window_end == 4
    assert books.receive(9, "white")
    books.actor("b", capacity=4)
    assert books.leased() == []


# Learners


def test_word_from_a_session_that_was_replaced_is_ignored():
    books = Books()
    books.learners()
    books.receive(0, "white")
    books.learner("white", session="s2")
    dispatcher = books.dispatcher
    dispatcher.acknowledged("white", "white-s1", [stored_unit(0)], totals(1))
    dispatcher.trained("white", "white-s1", 9)
    dispatcher.learner_left("white", "white-s1")
    assert not dispatcher.credit("white", "white-s1", 5)
    assert not dispatcher.declined("white", "white-s1", 0)
    ledger = dispatcher.ledgers["white"]
    assert (list(ledger.held), ledger.trained_units, ledger.session, ledger.capacity) == ([0], 0, "white-s2", 0)


def test_a_learner_that_was_replaced_gets_what_was_under_way_to_the_one_before():
    books = Books()
    white, _ = books.learners()
    white.credit(9)
    books.receive(0, "white")
    books.receive(1, "white")
    assert white.deliveries() == [0, 1]
    white.units.add(0)  # stored, the acknowledgement lost with the process
    white.session = "white-s2"
    white.hello()
    assert white.deliveries() == []  # no credit yet
    white.credit(9)
    assert white.deliveries() == [1]
    books.check()


def test_what_waits_for_a_learner_that_has_gone_is_kept_for_the_next():
    books = Books()
    white, _ = books.learners()
    white.credit(9)
    books.receive(0, "white")
    white.deliveries()
    books.dispatcher.learner_left("white", white.session)
    books.receive(1, "white")
    assert white.deliveries() == []
    books.check()
    white.session = "white-s2"
    white.hello()
    white.credit(9)
    assert white.deliveries() == [0, 1]


def test_a_store_that_has_shrunk_gets_its_units_leased_again():
    books = Books(ahead=20)
    white, _ = books.learners(units=10, trained=5)
    books.actor("a", capacity=2)
    assert [unit for _, unit, _ in books.leased()] == [10, 11]
    white.units, white.trained, white.session = IntervalSet([(0, 3), (6, 9)]), 4, "white-s2"
    assert white.hello() == 2
    books.check()
    books.actor("b", capacity=3)
    assert books.leased() == [("b", 4, ("white",)), ("b", 5, ("white",)), ("b", 12, BOTH)]


def test_a_store_that_began_anew_gets_every_unit_again():
    books = Books(ahead=8)
    white, _ = books.learners(units=6, trained=6)
    white.units, white.trained, white.session = IntervalSet(), 0, "white-s2"
    assert white.hello() == 6
    books.actor("a", capacity=64)
    agents = {unit: agents for _, unit, agents in books.leased()}
    assert agents == {**dict.fromkeys(range(6), ("white",)), 6: BOTH, 7: BOTH}


def test_an_actor_can_get_a_unit_that_it_holds_for_another_agent_already():
    books = Books()
    white, _ = books.learners()
    books.actor("a")
    books.leased()
    books.receive(0, "white")
    white.credit(1)
    white.deliveries()
    white.store(0)
    white.units, white.session = IntervalSet(), "white-s2"
    white.hello()
    books.dispatcher.capacity("a", 2)
    assert books.leased()[0] == ("a", 0, ("white",))
    assert books.dispatcher.actors["a"].leases[0].agents == {*BOTH}


def test_a_batch_that_the_learner_cannot_use_is_forgotten_and_its_unit_leased_again():
    books = Books()
    white, _ = books.learners()
    books.actor("a")
    books.leased()
    for agent in BOTH:
        books.receive(0, agent)
    white.credit(1)
    white.deliveries()
    assert books.dispatcher.declined("white", white.session, 0)
    assert not books.dispatcher.declined("white", white.session, 0)
    books.check()
    ledger = books.dispatcher.ledgers["white"]
    assert (ledger.produced, ledger.under_way, ledger.closed) == (0, 0, True)
    assert books.leased() == [("a", 0, ("white",))]


# Delivery


def test_batches_are_delivered_within_the_credit_first_come_first_served():
    books = Books("white")
    (white,) = books.learners()
    for unit in (3, 1, 2):
        books.receive(unit, "white")
    assert white.deliveries() == []
    white.credit(2)
    assert white.deliveries() == [3, 1]
    white.store(3)
    assert white.deliveries() == [2]
    white.credit(0)
    books.receive(4, "white")
    assert white.deliveries() == []


def test_a_delivery_that_is_not_acknowledged_is_repeated_and_its_double_dropped():
    books = Books("white")
    (white,) = books.learners()
    white.credit(9)
    books.receive(0, "white")
    assert white.deliveries() == [0]
    white.store(0, acknowledge=False)
    books.clock.advance(29.0)
    assert books.dispatcher.redeliver() == 0
    books.clock.advance(1.1)
    assert books.dispatcher.redeliver() == 1
    books.check()
    assert white.deliveries() == [0]
    white.store(0)  # dropped as a double, and acknowledged as one
    books.check()
    ledger = books.dispatcher.ledgers["white"]
    assert (ledger.held, ledger.under_way, ledger.closed) == ({}, 0, True)


def test_the_accounting_closes_while_an_acknowledgement_is_lost():
    books = Books("white")
    (white,) = books.learners()
    white.credit(9)
    books.receive(0, "white")
    books.receive(1, "white")
    white.deliveries()
    white.store(0, acknowledge=False)
    white.store(1)
    ledger = books.dispatcher.ledgers["white"]
    assert ledger.totals.transitions == 200
    assert (ledger.produced, ledger.transitions_stored, ledger.in_flight, ledger.closed) == (200, 100, 100, True)


def test_a_failed_delivery_keeps_its_place():
    books = Books("white")
    (white,) = books.learners()
    white.credit(9)
    for unit in (0, 1):
        books.receive(unit, "white")
    batch = books.dispatcher.next_delivery("white")
    books.dispatcher.ledgers["white"].not_delivered(batch)
    books.check()
    assert white.deliveries() == [0, 1]


def test_an_acknowledgement_that_says_another_size_than_the_envelope_opens_the_accounting():
    books = Books("white")
    books.learners()
    books.dispatcher.received(header(0, "white", transitions=101), ())
    books.dispatcher.acknowledged("white", "white-s1", [stored_unit(0)], totals(1))
    assert not books.dispatcher.ledgers["white"].closed


def test_games_that_the_store_does_not_account_for_open_the_accounting():
    books = Books("white")
    books.learners()
    ledger = books.dispatcher.ledgers["white"]
    assert ledger.closed
    ledger.totals = StoreTotals(games_read=3, games_used=1, games_unselected=1)
    assert not ledger.closed


def test_a_store_that_lost_units_it_was_trained_on_gets_them_again_within_the_window():
    books = Books("white", ahead=4, units=20)
    white = books.learner("white", units=20, trained=20)
    assert books.dispatcher.finished
    white.units = IntervalSet([(0, 1), (9, 9)])
    assert white.hello() == 17
    assert not books.dispatcher.finished
    books.actor("a", capacity=64)
    assert [unit for _, unit, _ in books.leased()] == [2, 3, 4, 5]
    white.store(2, 3, 4, 5)
    assert [unit for _, unit, _ in books.leased()] == [6, 7, 8]
    white.store(6, 7, 8)
    assert [unit for _, unit, _ in books.leased()] == [10, 11, 12, 13]


@pytest.mark.parametrize("leases", [0, 5, 10])
def test_throttled_means_that_the_window_is_full_of_units_to_be_trained(leases):
    books = Books(ahead=10)
    white, black = books.learners()
    books.actor("a", capacity=10)
    books.leased()
    for unit in range(10 - leases):
        for agent in BOTH:
            books.receive(unit, agent)
    books.dispatcher.capacity("a", 64)
    assert books.dispatcher.throttled == (leases < 5)
    white.train(1)
    black.train(1)
    assert not books.dispatcher.throttled


def test_units_are_needed_until_every_learner_has_them_on_disk():
    books = Books()
    white, black = books.learners(units=1)
    assert not books.dispatcher.needed(0)
    white.store(1)
    assert books.dispatcher.needed(1)
    black.store(1)
    assert not books.dispatcher.needed(1)
