"""Batches to learners: against credit, until they are acknowledged, and accounted for."""

import random

from common.links import Delivered, LeasedUnit
from common.messages import Totals
from tests.links.peers import AGENTS, ROWS, agents, services
from tests.until import until


def test_batches_go_to_the_learners_of_their_agents_and_are_acknowledged(broker, actor, learners, operator):
    first = actor()
    both = learners()
    first.wait(LeasedUnit)
    bodies = {"white": b"w" * 100_000, "black": b"b" * 300}
    for agent, body in bodies.items():
        first.send(0, agent, body)
    for receiver in both:
        (delivered,) = receiver.wait(Delivered)
        assert delivered.body == bodies[receiver.agent]
        header = delivered.header
        assert (header.unit, header.agent, header.actor) == (0, receiver.agent, "actor-0")
        until(lambda receiver=receiver: agents(operator)[receiver.agent].in_flight == ROWS, first.poll)
        receiver.store(0)
    for agent in AGENTS:
        found = until(lambda agent=agent: status if (status := agents(operator)[agent]).units_stored else None)
        assert (found.produced, found.stored, found.in_flight, found.duplicates) == (ROWS, ROWS, 0, 0)
        assert found.closed
    assert first.wait(LeasedUnit, 2)[1].lease.unit == 1


def test_a_large_batch_comes_whole(broker, actor, learners):
    white, _ = learners()
    first = actor()
    first.wait(LeasedUnit)
    body = random.Random(1).randbytes(5_000_000)
    first.send(0, "white", body)
    until(lambda: white.of(Delivered), lambda: (first.poll(), white.poll()))
    assert white.of(Delivered)[0].body == body


def test_a_learner_gets_no_more_batches_than_its_credit(broker, actor, learner, operator):
    white = learner("white").join(credit=2)
    learner("black").join()
    first = actor(capacity=4)
    first.wait(LeasedUnit, 4)
    for unit in range(4):
        first.send(unit, "white")
    assert [event.header.unit for event in white.wait(Delivered, 2)] == [0, 1]
    until(lambda: agents(operator)["white"].in_flight == 4 * ROWS, first.poll)
    for _ in range(5):
        white.poll()
    assert len(white.of(Delivered)) == 2
    white.store(0)
    assert white.wait(Delivered, 3)[2].header.unit == 2
    for _ in range(5):
        white.poll()
    assert len(white.of(Delivered)) == 3


def test_without_credit_nothing_is_delivered(broker, actor, learners, operator):
    white, _ = learners(credit=0)
    first = actor()
    first.wait(LeasedUnit)
    first.send(0, "white")
    until(lambda: agents(operator)["white"].in_flight == ROWS, lambda: (first.poll(), white.poll()))
    assert white.of(Delivered) == []
    white.credit = 1
    white.wait(Delivered)


def test_a_batch_that_is_not_acknowledged_is_delivered_again(site, broker, actor, learners):
    white, _ = learners()
    first = actor()
    first.wait(LeasedUnit)
    first.send(0, "white")
    until(lambda: white.of(Delivered), lambda: (first.poll(), white.poll()))
    site.pass_time(site.redelivery_s + 1.0, white.poll)
    again = white.wait(Delivered, 2)
    assert again[0] == again[1]


def test_a_batch_of_a_learner_that_has_gone_comes_to_the_next_one(broker, actor, learner, learners, operator):
    white, _ = learners()
    first = actor()
    first.wait(LeasedUnit)
    first.send(0, "white")
    until(lambda: white.of(Delivered), lambda: (first.poll(), white.poll()))
    white.close()
    anew = learner("white").join()
    until(lambda: anew.of(Delivered), lambda: (first.poll(), anew.poll()))
    assert anew.of(Delivered) == white.of(Delivered)
    anew.store(0)
    until(lambda: agents(operator)["white"].units_stored == 1)
    assert agents(operator)["white"].closed


def test_a_lost_acknowledgement_is_made_good_by_the_next_report(broker, actor, learners, operator):
    white, _ = learners()
    first = actor()
    first.wait(LeasedUnit)
    first.send(0, "white")
    until(lambda: white.of(Delivered), lambda: (first.poll(), white.poll()))
    white.units.add(0)  # stored; the word of it is lost
    white.report()
    until(lambda: agents(operator)["white"].units_stored == 1, white.poll)
    assert white.hellos == 2
    found = agents(operator)["white"]
    assert (found.in_flight, found.closed) == (0, True)


def test_a_batch_that_comes_twice_is_stored_once_and_the_books_close(site, broker, actor, learners, operator):
    both = learners()
    for each in both:
        each.stores = True
    first = actor(works=False)
    first.wait(LeasedUnit)
    site.pass_time(site.lease_timeout_s + 1.0, first.poll)
    second = actor("actor-1", capacity=8)
    until(lambda: 0 in second.leased, second.poll)
    for late in (first, second):
        for agent in AGENTS:
            late.send(0, agent)

    def all_go_on() -> None:
        for peer in (*both, second, first):
            peer.poll()

    def doubled(agent: str) -> bool:
        return agents(operator)[agent].duplicates == ROWS

    until(lambda: all(doubled(agent) for agent in AGENTS), all_go_on)
    until(lambda: all(agent.in_flight == 0 for agent in operator.status(5.0).agents), all_go_on)
    for agent in AGENTS:
        found = agents(operator)[agent]
        assert (found.produced, found.stored, found.units_stored, found.closed) == (2 * ROWS, ROWS, 1, True)


def test_a_batch_that_the_learner_declines_is_leased_again_for_its_agent_alone(broker, actor, learners, operator):
    white, black = learners()
    black.stores = True
    first = actor()
    first.wait(LeasedUnit)
    for agent in AGENTS:
        first.send(0, agent)
    until(lambda: white.of(Delivered) and black.of(Delivered), lambda: (first.poll(), white.poll(), black.poll()))
    first.link.capacity(0)
    white.link.decline(0, "the batch is for black" + "!" * 5000)
    until(lambda: operator.status(5.0).dropped.get("batch declined"), white.poll)
    first.link.capacity(9)
    again = until(lambda: [event for event in first.of(LeasedUnit) if event.lease.agents == ["white"]], first.poll)
    assert again[0].lease.unit == 0
    assert agents(operator)["white"].closed
    white.stores = True
    first.send(0, "white")
    until(lambda: agents(operator)["white"].units_stored == 1, lambda: (first.poll(), white.poll()))
    assert agents(operator)["white"].closed


def test_a_learner_hears_how_many_units_there_are_until_it_has_finished(broker, learners, operator):
    white, black = learners(units=8)
    assert white.wait(Totals)[0] == black.wait(Totals)[0] == Totals(units=8, games=16)
    seen = len(white.of(Totals))
    white.report()  # trained on all, and not finished: did it never hear?
    white.wait(Totals, seen + 1)
    white.report(finished=True)
    black.report(finished=True)
    until(lambda: operator.status(5.0).finished, lambda: (white.poll(), black.poll()))
    until(lambda: {service.state for service in services(operator).values()} == {"finished"}, white.poll)


def test_the_status_closes_and_knows_the_whole(broker, actor, learners, operator):
    learners(units=3)
    first = actor()
    first.wait(LeasedUnit)
    until(lambda: all(agent.leased == 1 for agent in operator.status(5.0).agents), first.poll)
    status = until(lambda: found if (found := operator.status(5.0)).units_total is not None else None)
    assert (status.units_total, status.games_total, status.games_cut, status.fraction_read) == (8, 16, 16, 1.0)
    assert status.broker
    assert not status.finished
    assert status.memory_bytes > 0
    for agent in status.agents:
        assert (agent.produced, agent.stored, agent.units_stored, agent.units_trained) == (300, 300, 3, 3)
        assert (agent.leased, agent.closed) == (1, True)
