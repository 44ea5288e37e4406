"""Weights to actors: the latest of each agent, to those that come late, too."""

import random

from common.links import Weights
from common.messages import PublishAgain, Welcome
from tests.links.peers import Actor, Learner
from tests.until import until


def published(learner: Learner, version: int, actor: Actor, body: bytes = b"\x00" * 8) -> Weights:
    """Publish until the actor has it."""

    def came() -> list[Weights]:
        header, _ = learner.weights(version, body)
        return [event for event in actor.of(Weights) if event.header == header]

    def turn() -> None:
        learner.link.publish(*learner.weights(version, body))
        learner.poll()
        actor.poll()

    return until(came, turn)[0]


def versions(actor: Actor) -> list[int]:
    return [event.header.version for event in actor.of(Weights)]


def test_weights_go_to_the_actors_and_the_last_ones_to_who_comes_late(broker, actor, learner):
    white = learner("white").join()
    early = actor()
    early.wait(Welcome)
    assert published(white, 3, early).header.version == 3
    late = actor("actor-1")
    (found,) = late.wait(Weights)
    assert (found.header, found.body) == white.weights(3)


def test_each_agent_has_weights_of_its_own(broker, actor, learners):
    first = actor()
    first.wait(Welcome)
    for number, each in enumerate(learners(), start=1):
        published(each, number, first)
    late = actor("actor-1")
    assert {event.header.agent: event.header.version for event in late.wait(Weights, 2)} == {"white": 1, "black": 2}


def test_large_weights_come_whole(broker, actor, learner):
    white = learner("white").join()
    first = actor()
    first.wait(Welcome)
    body = random.Random(1).randbytes(5_000_000)
    assert published(white, 1, first, body).body == body
    assert actor("actor-1").wait(Weights)[0].body == body


def test_old_weights_and_those_known_already_are_passed_over(broker, actor, learner):
    white = learner("white").join()
    first = actor()
    first.wait(Welcome)
    published(white, 3, first)
    for version in (2, 3):
        white.link.publish(*white.weights(version, bytes([version]) * 8))
    published(white, 4, first)
    assert versions(first) == [3, 4]


def test_a_learner_that_begins_anew_with_nothing_has_its_weights_taken(broker, actor, learner):
    before = learner("white").join()
    first = actor()
    first.wait(Welcome)
    published(before, 50, first)
    anew = learner("white").join()
    anew.version = 1
    until(lambda: anew.of(PublishAgain), lambda: (anew.report(), anew.poll()))
    published(anew, 1, first)
    assert versions(first) == [50, 1]
    late = actor("actor-1")
    (found,) = late.wait(Weights)
    assert found.header == anew.weights(1)[0]


def test_weights_with_a_wrong_hash_come_to_nobody(broker, actor, learner):
    white = learner("white").join()
    first = actor()
    first.wait(Welcome)
    published(white, 1, first)  # the way is there
    header, _ = white.weights(3)
    for _ in range(3):
        white.link.publish(header, b"\x01" * 8)
    published(white, 4, first)
    assert versions(first) == [1, 4]


def test_a_broker_that_misses_the_weights_has_them_published_again(broker, learner):
    white = learner("white").join()
    white.version = 5
    until(lambda: white.of(PublishAgain), lambda: (white.report(), white.poll()))


def test_weights_outlive_a_broker(site, actor, learner):
    """Whoever keeps them: the learner publishes them again if it is asked to."""
    white = learner("white")
    with site.broker():
        white.join()
        first = actor()
        first.wait(Welcome)
        published(white, 3, first)
        white.version = 3
    with site.broker():
        late = actor("actor-1")

        def turn() -> None:
            asked = len(white.of(PublishAgain))
            white.report()
            white.poll()
            if len(white.of(PublishAgain)) > asked:
                white.link.publish(*white.weights(3))
            late.poll()

        until(lambda: late.of(Weights), turn)
    assert versions(late) == [3]
    assert versions(first) == [3]
