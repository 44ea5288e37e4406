"""Units to actors: each to one at a time, for as long as it gets on, and never too far ahead."""

from common.links import Delivered, LeasedUnit
from common.messages import Welcome
from tests.links.games import game
from tests.links.peers import AGENTS, services, settle
from tests.until import until


def test_a_lease_comes_with_its_games(broker, actor, learners):
    first = actor(capacity=2)
    learners()
    zero, one = first.wait(LeasedUnit, 2)
    assert (zero.lease.unit, one.lease.unit, zero.lease.agents) == (0, 1, list(AGENTS))
    assert list(zero.games) == [game(0), game(1)]
    assert list(one.games) == [game(2), game(3)]


def test_nothing_is_leased_before_every_agents_learner_has_said_what_it_has(broker, actor, learner, operator):
    learner("white").join()
    first = actor()
    first.wait(Welcome)
    settle(first, operator)
    assert first.leased == []
    learner("black").join()
    first.wait(LeasedUnit)


def test_what_all_learners_have_is_leased_to_nobody_and_what_one_misses_for_it_alone(broker, actor, learner):
    learner("white", units=3).join()
    learner("black", units=2).join()
    first = actor(capacity=2)
    two, three = first.wait(LeasedUnit, 2)
    assert (two.lease.unit, two.lease.agents) == (2, ["black"])
    assert (three.lease.unit, three.lease.agents) == (3, list(AGENTS))


def test_an_actor_gets_no_more_than_it_can_hold(broker, actor, learners, operator):
    learners()
    first = actor(capacity=2)
    first.wait(LeasedUnit, 2)
    settle(first, operator)
    assert first.leased == [0, 1]
    first.link.capacity(3)
    first.wait(LeasedUnit, 3)


def test_every_unit_goes_to_one_actor(broker, actor, learners):
    learners()
    both = actor(capacity=5), actor("actor-1", capacity=5)
    until(lambda: sum(len(each.leased) for each in both) == 8, lambda: [each.poll() for each in both])
    assert sorted(both[0].leased + both[1].leased) == list(range(8))


def test_no_unit_is_leased_further_ahead_of_the_training_than_was_set(site, actor, learners, operator):
    with site.broker(ahead=3):
        both = learners()
        first = actor(capacity=8)
        first.wait(LeasedUnit, 3)
        for agent in AGENTS:
            first.send(0, agent)
        for each in both:
            each.wait(Delivered)
            each.store(0)  # stored, and not trained yet
            each.report()
        until(lambda: all(agent.units_stored for agent in operator.status(5.0).agents))
        settle(first, operator)
        assert first.leased == [0, 1, 2]
        for each in both:
            each.trained = 1
            each.report()
        first.wait(LeasedUnit, 4)
        settle(first, operator)
        assert first.leased == [0, 1, 2, 3]


def test_a_lease_without_progress_goes_to_another_actor(site, broker, actor, learners, operator):
    learners()
    first = actor(works=False)
    first.wait(LeasedUnit)
    first.renew([0], 5)
    until(lambda: (said := services(operator)["actor-0"].actor) and said.positions == 5)
    for _ in range(2):
        site.pass_time(0.6 * site.lease_timeout_s, first.poll)
        first.renew([0], 5)  # it speaks, and gets no further
        until(lambda: services(operator)["actor-0"].seen_s < 0.3 * site.lease_timeout_s, first.poll)
    second = actor("actor-1", capacity=8)
    until(lambda: 0 in second.leased, second.poll)


def test_a_lease_with_progress_lives_on_past_its_time(site, broker, actor, learners, operator):
    learners()
    first = actor(works=False)
    first.wait(LeasedUnit)
    for positions in (1, 2, 3):
        site.pass_time(0.6 * site.lease_timeout_s, first.poll)
        first.renew([0], positions)
        until(lambda: (said := services(operator)["actor-0"].actor) and said.positions == positions)  # noqa: B023
    second = actor("actor-1", capacity=8)
    second.wait(LeasedUnit, 7)
    assert second.leased == list(range(1, 8))


def test_an_actor_that_vanishes_loses_its_lease(site, broker, actor, learners):
    learners()
    first = actor(works=False)
    first.wait(LeasedUnit)
    site.pass_time(site.lease_timeout_s + 1.0, lambda: None)
    second = actor("actor-1", capacity=8)
    until(lambda: 0 in second.leased, second.poll)


def test_an_actor_that_says_goodbye_frees_its_units_at_once(broker, actor, learners):
    learners()
    first = actor()
    first.wait(LeasedUnit)
    first.close()
    second = actor("actor-1", capacity=8)
    until(lambda: 0 in second.leased, second.poll)


def test_a_unit_that_is_given_back_is_leased_again_at_once(broker, actor, learners):
    learners()
    first = actor(capacity=2)
    first.wait(LeasedUnit, 2)
    first.link.capacity(0)
    first.release([1])
    second = actor("actor-1", capacity=8)
    until(lambda: 1 in second.leased, lambda: (second.poll(), first.poll()))
    assert 0 not in second.leased
