"""One site for each transport, and the peers, operators and strangers of a run there."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from common.keys import KeyHolder
from common.links import OperatorLink
from common.messages import Role
from common.session import new_session
from tests.links.nats_site import NatsSite
from tests.links.peers import AGENTS, Actor, Collector, Learner
from tests.links.site import OPERATOR, Site, Stranger
from tests.links.zmq_site import ZmqSite

SITES: dict[str, Callable[[Path], AbstractContextManager[Site]]] = {
    "zeromq": lambda folder: ZmqSite(),
    "nats": NatsSite,
}
"""Every transport, each with what makes its site; it may write to the folder."""


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "nats":
        request.getfixturevalue("nats_server_binary")
    with SITES[request.param](tmp_path / "site") as site:
        yield site


@pytest.fixture
def broker(site: Site) -> Iterator[None]:
    """A broker of eight units that is there for the whole test."""
    with site.broker():
        yield


class StartActor(Protocol):
    def __call__(self, name: str = "actor-0", **others: Any) -> Actor: ...


class StartLearner(Protocol):
    def __call__(self, agent: str, **others: Any) -> Learner: ...


class StartStranger(Protocol):
    def __call__(self, role: Role, name: str, session: str = "") -> Stranger: ...


@pytest.fixture
def actor(site: Site, closing: Callable[[Any], Any]) -> StartActor:
    """Starts actors, which work unless they are told not to."""

    def start(name: str = "actor-0", **others: Any) -> Actor:
        found = Actor(site.transport(KeyHolder(Role.ACTOR, name)), name, **{"works": True, **others})
        closing(found)
        return found

    return start


@pytest.fixture
def learner(site: Site, closing: Callable[[Any], Any]) -> StartLearner:
    def start(agent: str, **others: Any) -> Learner:
        found = Learner(site.transport(KeyHolder(Role.LEARNER, agent)), agent, **others)
        closing(found)
        return found

    return start


@pytest.fixture
def learners(learner: StartLearner) -> Callable[..., list[Learner]]:
    """Starts a learner for every agent, each welcome and with credit."""

    def start(credit: int = 8, **others: Any) -> list[Learner]:
        return [learner(agent, **others).join(credit) for agent in AGENTS]

    return start


@pytest.fixture
def collector(site: Site, closing: Callable[[Any], Any]) -> Callable[..., Collector]:
    def start(name: str = "logs") -> Collector:
        found = Collector(site.transport(KeyHolder(Role.COLLECTOR, name)), name)
        closing(found)
        return found

    return start


@pytest.fixture
def operator(site: Site, closing: Callable[[Any], Any]) -> OperatorLink:
    link: OperatorLink = site.transport(OPERATOR).operator()
    closing(link)
    return link


@pytest.fixture
def stranger(site: Site, closing: Callable[[Any], Any]) -> StartStranger:
    """Brings strangers who go by the name and session of a peer."""

    def start(role: Role, name: str, session: str = "") -> Stranger:
        found = site.stranger(KeyHolder(role, name), session or new_session())
        closing(found)
        return found

    return start
