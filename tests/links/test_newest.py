"""Of two processes with one name, and of two learners of one agent, the one that was started later goes on."""

import pytest

from common.errors import Refused
from common.messages import LeaseRequest, Order, Refusal, Role, Unknown, Welcome
from tests.links.peers import agents, services
from tests.links.said import actors_hello, heard, hello_of, learners_hello, say
from tests.until import until


def test_the_process_started_later_goes_on_and_the_other_is_told_why(broker, actor, learners, operator):
    learners()
    first = actor()
    until(lambda: first.leased, first.poll)
    second = actor(capacity=8)
    second.wait(Welcome)
    (refusal,) = first.wait(Refusal)
    assert "actor-0 was started anew on " in refusal.reason
    first.release(first.leased)  # as a service does that ends
    until(lambda: set(first.leased) <= set(second.leased), second.poll)
    for _ in range(5):  # the first does not come back by itself
        first.link.capacity(1)
        first.poll()
        second.poll()
    operator.command("pause", ["actor-0"], 5.0)
    second.wait(Order)
    assert first.of(Order) == []
    assert len(first.of(Welcome)) == 1
    assert second.of(Refusal) == []
    assert set(services(operator)) == {"actor-0", "learner-white", "learner-black"}


def test_the_word_of_a_process_that_was_started_earlier_replaces_nobody(broker, stranger, operator):
    for session, started_ns, expected in (("new", 2000, Welcome), ("old", 1000, Refusal), ("old", 1000, Refusal)):
        somebody = stranger(Role.COLLECTOR, "logs", session)
        say(somebody, hello_of(session, started_ns=started_ns, host=session))
        assert isinstance(heard(somebody), expected)
        somebody.close()
    assert services(operator)["logs"].host == "new"


def test_one_started_later_that_was_silent_goes_on_when_it_speaks_again(site, broker, stranger):
    """The older one, back from the dead, gets the name only for as long as the newer one says nothing."""
    new, old = stranger(Role.COLLECTOR, "logs", "new"), stranger(Role.COLLECTOR, "logs", "old")
    say(new, hello_of("new", started_ns=2000))
    assert isinstance(heard(new), Welcome)
    site.pass_time(site.silence_s + 1.0, lambda: None)
    say(old, hello_of("old", started_ns=1000))
    assert isinstance(heard(old), Welcome)
    say(new, LeaseRequest(capacity=1))
    assert heard(new) == Unknown()
    say(new, hello_of("new", started_ns=2000))
    assert isinstance(heard(new), Welcome)
    assert "the newer one goes on" in heard(old).reason


def test_the_word_of_a_learner_that_was_started_earlier_replaces_no_other_of_its_agent(broker, stranger, operator):
    for name, started_ns, expected in (("new", 2000, Welcome), ("old", 1000, Refusal)):
        somebody = stranger(Role.LEARNER, "white", name)
        say(somebody, learners_hello("white", name, name=name, started_ns=started_ns))
        assert isinstance(heard(somebody), expected)
    assert set(services(operator)) == {"new"}
    assert agents(operator)["white"].learner == "connected"


def test_an_actor_that_names_an_agent_replaces_no_learner(broker, stranger, learner, operator):
    white = learner("white").join()
    liar = stranger(Role.ACTOR, "liar", "liar")
    say(liar, actors_hello("liar", "liar", agent="white"))
    assert isinstance(heard(liar), Welcome)
    white.poll()
    assert white.of(Refusal) == []
    assert set(services(operator)) == {"learner-white", "liar"}
    assert agents(operator)["white"].learner == "connected"


def test_a_session_that_was_replaced_is_told_again_whatever_it_says(broker, stranger):
    old, new = stranger(Role.COLLECTOR, "logs", "old"), stranger(Role.COLLECTOR, "logs", "new")
    for somebody, session in ((old, "old"), (new, "new")):
        say(somebody, hello_of(session))
        assert isinstance(heard(somebody), Welcome)
    assert isinstance(heard(old), Refusal)
    for message in (LeaseRequest(capacity=1), hello_of("old")):
        say(old, message)
        assert "the newer one goes on" in heard(old).reason


def test_a_second_learner_of_an_agent_takes_over_whatever_its_name(broker, learner, operator):
    first = learner("white").join()
    second = learner("white", name="learner-white-2").join()
    assert "learner-white-2 was started anew" in first.wait(Refusal)[0].reason
    assert set(services(operator)) == {"learner-white-2"}
    assert agents(operator)["white"].learner == "connected"
    assert second.of(Refusal) == []


def test_a_second_collector_of_the_name_goes_on_and_the_first_is_refused(broker, collector, operator):
    first = collector()
    until(lambda: services(operator), first.poll)
    second = collector()
    with pytest.raises(Refused, match="the newer one goes on"):
        until(lambda: None, lambda: (second.poll(), first.poll()))
    assert set(services(operator)) == {"logs"}


def test_a_name_that_a_service_of_another_role_has_is_refused(broker, actor, learner):
    actor().wait(Welcome)
    (refusal,) = learner("white", name="actor-0").wait(Refusal)
    assert refusal.reason.startswith("the name actor-0 is taken by the actor on ")
