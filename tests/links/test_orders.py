"""What operators ask and order."""

from contextlib import suppress

from common.errors import BrokerUnreachable
from common.links import LeasedUnit
from common.messages import Action, Order, Status, Welcome
from tests.links.peers import services, settle
from tests.links.site import OPERATOR
from tests.until import until


def test_orders_reach_the_actors(broker, actor, learners, operator):
    learners()
    first, second = actor(capacity=0), actor("actor-1", capacity=0)
    for peer in (first, second):
        peer.wait(Welcome)
    assert operator.command("pause", ["actor-0"], 5.0) == (["actor-0"], [])
    assert first.wait(Order)[0].action is Action.PAUSE
    assert services(operator)["actor-0"].state == "paused"
    first.link.capacity(1)
    assert operator.command("resume", [], 5.0) == (["actor-0", "actor-1"], [])
    first.wait(LeasedUnit)
    assert operator.command("reset", ["actor-0", "actor-0"], 5.0) == (["actor-0"], [])
    assert operator.command("drain", ["actor-1", "actor-7"], 5.0) == (["actor-1"], ["actor-7"])
    assert [event.action for event in first.wait(Order, 3)] == [Action.PAUSE, Action.RESUME, Action.RESET]
    assert [event.action for event in second.wait(Order, 2)] == [Action.RESUME, Action.DRAIN]
    assert services(operator)["actor-1"].state == "draining"


def test_a_paused_actor_gets_no_unit_until_it_is_resumed(broker, actor, learners, operator):
    learners()
    first = actor(capacity=0)
    first.wait(Welcome)
    operator.command("pause", [], 5.0)
    first.wait(Order)
    first.link.capacity(2)
    other = actor("actor-1", capacity=2)
    other.wait(LeasedUnit, 2)
    settle(first, operator, "pause")
    assert first.leased == []
    operator.command("resume", ["actor-0"], 5.0)
    first.wait(LeasedUnit, 2)


def test_a_drained_actor_gets_no_more_units(broker, actor, learners, operator):
    learners()
    first = actor(capacity=1)
    first.wait(LeasedUnit)
    operator.command("drain", ["actor-0"], 5.0)
    first.wait(Order)
    first.link.capacity(8)
    settle(first, operator, "drain")
    assert first.leased == [0]


def test_a_paused_actor_that_is_started_anew_stays_paused(broker, actor, learners, operator):
    learners()
    actor(capacity=0).wait(Welcome)
    operator.command("pause", [], 5.0)
    again = actor(capacity=1)
    again.wait(Welcome)
    until(lambda: services(operator)["actor-0"].actor, again.poll)  # it has said what it can hold, and more
    assert services(operator)["actor-0"].state == "paused"
    settle(again, operator, "pause")
    assert again.leased == []
    assert services(operator)["actor-0"].state == "paused"
    operator.command("resume", [], 5.0)
    again.wait(LeasedUnit)


def test_the_answer_to_an_earlier_question_is_not_taken_for_this_ones(broker, operator):
    for _ in range(5):
        with suppress(BrokerUnreachable):
            operator.status(0.0)  # the answer may come after it was given up
        assert operator.command("pause", [], 5.0) == ([], [])
        with suppress(BrokerUnreachable):
            operator.command("pause", [], 0.0)
        assert isinstance(operator.status(5.0), Status)


def test_each_of_many_operators_has_its_answers(site, broker, actor, operator, closing):
    first = actor(capacity=0)
    first.wait(Welcome)
    others = [closing(site.transport(OPERATOR).operator()) for _ in range(20)]
    for other in others:
        assert set(services(other)) == {"actor-0"}
        assert other.command("resume", ["actor-0"], 5.0) == (["actor-0"], [])
    until(lambda: len(first.of(Order)) == 20, first.poll)
