"""A broker that is killed and started anew: everybody says hello again, and nothing is lost for it."""

from common.links import Delivered, LeasedUnit
from common.messages import Welcome
from tests.links.peers import ROWS, agents, services
from tests.until import until


def test_peers_say_hello_again_by_themselves_and_units_in_hand_are_adopted(site, actor, learners, operator):
    with site.broker():
        both = white, black = learners()
        first = actor()
        first.wait(LeasedUnit)
        first.renew([0], 7)
        until(lambda: (said := services(operator)["actor-0"].actor) and said.positions >= 7)
    with site.broker():

        def everybody_goes_on() -> None:
            for learner in both:
                learner.poll()
                learner.report()
            first.poll()

        until(lambda: len(first.of(Welcome)) == 2 and white.hellos == black.hellos == 2, everybody_goes_on)
        until(lambda: agents(operator)["white"].leased == 1, everybody_goes_on)
        second = actor("actor-1")
        assert second.wait(LeasedUnit)[0].lease.unit == 1
        first.send(0, "white")
        until(lambda: white.of(Delivered), everybody_goes_on)
        white.store(0)
        until(lambda: agents(operator)["white"].units_stored == 1)
        assert agents(operator)["white"].closed
        assert first.of(Welcome)[1].broker == operator.status(5.0).broker != first.of(Welcome)[0].broker


def test_a_unit_leased_a_moment_before_the_broker_died_is_told_as_in_hand(site, actor, learners, operator):
    with site.broker():
        both = learners()
        first = actor(capacity=2, works=False)
        first.wait(LeasedUnit, 2)  # no report in between
        first.link.capacity(0)
        first.release([1])
    first.works = True
    with site.broker():

        def everybody_goes_on() -> None:
            first.link.capacity(0)
            first.poll()
            for learner in both:
                learner.poll()
                learner.report()

        until(lambda: len(first.of(Welcome)) == 2 and all(each.hellos == 2 for each in both), everybody_goes_on)
        until(lambda: agents(operator)["white"].leased == 1, everybody_goes_on)
        second = actor("actor-1", capacity=8)
        second.wait(LeasedUnit, 7)
        assert sorted(second.leased) == list(range(1, 8))


def test_a_run_comes_to_its_end_over_brokers_that_die(site, actor, learners, operator):
    """Batches get lost with a broker, or come again: each unit is stored once, and the books close."""
    with site.broker():
        both = learners(credit=2)
        fleet = [actor(capacity=1), actor("actor-1", capacity=2)]
        for each in (*both, *fleet):
            each.stores = each.makes = True

    def everybody_goes_on() -> None:
        for peer in (*both, *fleet):
            peer.poll()

    for enough in (2, 4):
        with site.broker():
            until(lambda: all(each.units.count >= enough for each in both), everybody_goes_on)  # noqa: B023
    with site.broker():
        until(lambda: all(each.units.count == 8 for each in both), everybody_goes_on)
        until(
            lambda: all(agent.in_flight == 0 < agent.units_stored for agent in operator.status(5.0).agents),
            everybody_goes_on,
        )
        for agent in operator.status(5.0).agents:
            assert (agent.units_stored, agent.stored, agent.closed) == (8, 8 * ROWS, True)
