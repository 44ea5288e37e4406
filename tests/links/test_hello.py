"""Who comes in, and as whom."""

import re

import pytest

from common.errors import BrokerUnreachable
from common.messages import LeaseRequest, Refusal, Role, Unknown, Welcome
from tests.links.peers import AGENTS, IDENTITY, agents, services
from tests.links.said import heard, say
from tests.links.site import OPERATOR
from tests.until import until


def test_whoever_says_hello_is_welcome_and_in_the_status(broker, actor, learner, collector, operator):
    first, white, logs = actor(), learner("white"), collector()
    for welcome in (first.wait(Welcome)[0], white.wait(Welcome)[0]):
        assert welcome == Welcome(broker=operator.status(5.0).broker, agents=list(AGENTS))
    until(lambda: len(services(operator)) == 3, logs.poll)
    assert {name: service.role for name, service in services(operator).items()} == {
        "actor-0": Role.ACTOR, "learner-white": Role.LEARNER, "logs": Role.COLLECTOR,
    }  # fmt: skip
    states = {name: agent.learner for name, agent in agents(operator).items()}
    assert states == {"white": "connected", "black": "never seen"}


def test_whoever_says_goodbye_is_gone_at_once(broker, actor, learner, collector, operator):
    peers = actor(), learner("white"), collector()
    until(lambda: len(services(operator)) == 3, lambda: [peer.poll() for peer in peers])
    for peer in peers:
        peer.close()
    until(lambda: not services(operator))


def test_a_learner_of_an_unknown_agent_is_refused_and_told_the_known_ones(broker, learner):
    (refusal,) = learner("red").wait(Refusal)
    assert refusal.reason == "no agent is called 'red'; this broker has: white, black: share one settings file"


@pytest.mark.parametrize("role", ["actor", "learner"])
def test_a_peer_with_other_settings_is_refused_and_told_the_differences(broker, actor, learner, role):
    others = {"identity": {**IDENTITY, "nodes": "5"}}
    peer = actor(**others) if role == "actor" else learner("white", **others)
    (refusal,) = peer.wait(Refusal)
    assert (
        refusal.reason == "settings differ from the broker's (nodes is 1000 there, 5 here): share one settings file"
    )


def test_a_reason_longer_than_a_message_may_carry_is_cut(broker, actor):
    (refusal,) = actor(identity={**IDENTITY, "agents": "x" * 6000}).wait(Refusal)
    assert len(refusal.reason) == 4096


def test_who_has_not_said_hello_is_told_to(broker, stranger):
    somebody = stranger(Role.ACTOR, "actor-7")
    say(somebody, LeaseRequest(capacity=1))
    assert heard(somebody) == Unknown()


def test_peers_that_were_there_first_are_welcome_when_a_broker_comes(site, actor, learner, operator):
    first, white = actor(), learner("white")
    first.poll()
    white.poll()
    with pytest.raises(BrokerUnreachable, match=re.escape(site.transport(OPERATOR).address)):
        operator.status(0.05)
    with site.broker():
        first.wait(Welcome)
        white.wait(Welcome)
        assert set(services(operator)) == {"actor-0", "learner-white"}
