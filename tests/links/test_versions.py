"""Peers and brokers of another version of the protocol, and of another mind."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from common import wire
from common.errors import Refused
from common.messages import Hello, LeaseRequest, Refusal, Role, ToBroker, Unknown, Welcome
from tests.links.said import foreign, heard
from tests.until import until

NOT_OURS = "protocol version 4 is not ours (3): run the same release of Rookery on all hosts"


def test_a_peer_of_another_version_is_told_so_and_counted(broker, stranger, operator):
    somebody = stranger(Role.ACTOR, "actor-0")
    somebody.say(foreign())
    assert heard(somebody) == Refusal(reason=NOT_OURS)
    assert sum(operator.status(5.0).dropped.values()) == 1
    assert operator.status(5.0).services == []


@pytest.mark.parametrize("role", ["actor", "learner", "collector"])
def test_a_peer_says_that_the_broker_is_of_another_version(site, actor, learner, collector, role):
    with site.impostor() as impostor:
        found = {"actor": actor, "learner": lambda: learner("white"), "collector": collector}[role]()

        def answer() -> None:
            found.poll()
            for peer, _ in impostor.heard():
                impostor.say(peer, foreign())

        with pytest.raises(Refused, match="the broker speaks another protocol: protocol version 4 is not ours"):
            until(lambda: None, answer)


def test_an_operator_is_told_that_the_broker_is_of_another_version(site, operator):
    with site.impostor() as impostor, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(operator.status, 10.0)

        def answer() -> None:
            for peer, _ in impostor.heard():
                impostor.say(peer, foreign())

        until(asked.done, answer)
        with pytest.raises(Refused, match="speaks another protocol: protocol version 4"):
            asked.result()


def test_after_a_refusal_a_peer_says_no_hello_more(site, actor):
    with site.impostor() as impostor:
        first = actor(works=False)
        said: list[tuple[object, object]] = []

        def listen() -> None:
            first.poll()
            said.extend((peer, wire.decode(envelope, ToBroker)) for peer, envelope in impostor.heard())

        until(lambda: [message for _, message in said if isinstance(message, Hello)], listen)
        peer = said[0][0]
        said.clear()
        for message in (
            Welcome(broker="b", agents=[]),
            Refusal(reason="a newer one goes on"),
            Unknown(),
            Unknown(),
        ):
            impostor.say(peer, wire.encode(message))
        until(lambda: first.of(Refusal), first.poll)
        first.link.capacity(7)
        until(lambda: LeaseRequest(capacity=7) in [message for _, message in said], listen)
        assert not [message for _, message in said if isinstance(message, Hello)]
