"""How long a lease takes, from asked to in hand, and how long weights take, from published to the actor.

On a site with nothing else to do. An actor asks for one unit more at a time, and keeps those that it has, up to as
many as an actor can hold; then another actor takes its place. Weights are one array of random values, published by
a learner's link in this process and waited for by an actor's in another; both processes have the same clock.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from statistics import median, quantiles

from benchmarks.figure import Figure
from benchmarks.nats_figures import Measured, beside, in_turns
from benchmarks.nats_peers import running, spawn
from benchmarks.nats_sites import ALL, site
from benchmarks.scale import Scale
from benchmarks.services import service
from common.keys import KeyHolder
from common.links import LearnerLink, LeasedUnit, Weights
from common.messages import ArraySpec, LearnerReport, Role, StoreTotals, WeightsHeader, Welcome
from common.security import reach
from common.session import hello, new_session
from common.settings import Settings, identity

LEASES = 60
"""Of one actor; 64 are all that it can hold."""
STUCK_S = 30.0
SIZES_MB = (1, 20)
FLOAT_BYTES = 4


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure leases and weights."""
    found = in_turns(scale.of(3, 1), ALL, partial(latencies, scale))
    yield from beside(found, "median", "lease, asked to in hand, median", "ms")
    yield from beside(found, "p99", "lease, asked to in hand, 99th percentile", "ms")
    for size_mb in SIZES_MB:
        yield from beside(
            found, f"{size_mb} MB", f"weights of {size_mb} MB, published to at the actor, median", "ms"
        )


def latencies(scale: Scale, name: str) -> Measured:
    """Return what one site comes to."""
    with site(name, scale) as here:
        settings = here.settings(max_units_ahead=1024)
        with service("broker", settings), learners(settings) as links:
            leases_s = [each for index in range(scale.of(5, 1)) for each in leases(settings, f"actor-{index}")]
            weights_s = {
                size_mb: weights(settings, links[0], size_mb, scale.of(20, 3)) for size_mb in SIZES_MB
            }  # fmt: skip
    return {
        "median": 1000 * median(leases_s),
        "p99": 1000 * quantiles(leases_s, n=100)[98],
        **{f"{size_mb} MB": 1000 * median(each) for size_mb, each in weights_s.items()},
    }


def leases(settings: Settings, name: str) -> list[float]:
    """Return the seconds that each lease of an actor took."""
    link = reach(settings, KeyHolder(Role.ACTOR, name)).actor(name, new_session(), identity(settings))
    taken_s: list[float] = []
    try:
        until(lambda: any(isinstance(event, Welcome) for event in link.poll(0.1)))
        for wanted in range(1, LEASES + 2):
            asked_s = time.monotonic()
            link.capacity(wanted)
            until(lambda: any(isinstance(event, LeasedUnit) for event in link.poll(0.1)))
            taken_s.append(time.monotonic() - asked_s)
            time.sleep(0.01)
    finally:
        link.close()
    return taken_s[1:]  # the first may wait for the broker to have read its games


def weights(settings: Settings, publisher: "Publisher", size_mb: int, count: int) -> list[float]:
    """Return the seconds that each of so many sets of weights took."""
    ours, theirs = spawn.Pipe()
    with running([spawn.Process(target=watch, args=(settings, theirs), daemon=True)]):
        assert ours.poll(STUCK_S), "the actor is not welcome"
        ours.recv()
        taken_s = []
        for _ in range(count):
            version, published_s = publisher.publish(size_mb * 10**6)
            while (came := arrived(ours))[0] < version:
                pass
            taken_s.append(came[1] - published_s)
            publisher.turn()
    return taken_s


def arrived(pipe: Connection) -> tuple[int, float]:
    """Return the next version that has come to the actor, and when it did."""
    if not pipe.poll(STUCK_S):
        raise TimeoutError(f"no weights within {STUCK_S:.0f} s")
    version, came_s = pipe.recv()
    return version, came_s


def watch(settings: Settings, pipe: Connection) -> None:
    """Be an actor that wants no units, and tell of the weights that come."""
    link = reach(settings, KeyHolder(Role.ACTOR, "watcher")).actor("watcher", new_session(), identity(settings))
    while True:
        for event in link.poll(0.1):
            if isinstance(event, Welcome):
                pipe.send(None)
            elif isinstance(event, Weights):
                pipe.send((event.header.version, time.monotonic()))


class Publisher:
    """A learner that has nothing, takes nothing, and publishes."""

    def __init__(self, settings: Settings, agent: str) -> None:
        self._agent, self._session, self._version = agent, new_session(), 0
        self._link: LearnerLink = reach(settings, KeyHolder(Role.LEARNER, agent)).learner(
            agent, self._session,
            lambda: hello(
                Role.LEARNER, f"learner-{agent}", self._session, agent=agent, settings=identity(settings)
            ),
        )  # fmt: skip

    def publish(self, size_bytes: int) -> tuple[int, float]:
        """Publish new weights; return their version, and when."""
        self._version += 1
        body = os.urandom(size_bytes)
        header = WeightsHeader(
            agent=self._agent, session=self._session, version=self._version, step=self._version, network="mlp",
            arrays=[ArraySpec(name="all", dtype="float32", shape=[size_bytes // FLOAT_BYTES])],
            size_bytes=size_bytes, sha256=hashlib.sha256(body).hexdigest(),
        )  # fmt: skip
        published_s = time.monotonic()
        self._link.publish(header, body)
        return self._version, published_s

    def turn(self, timeout_s: float = 0.0) -> bool:
        """Say that it is there; return whether it was made welcome just now."""
        self._link.report(
            LearnerReport(
                agent=self._agent, session=self._session, totals=StoreTotals(), trained_units=0,
                transitions_trained=0, step=0, version=self._version,
            )
        )  # fmt: skip
        return any(isinstance(event, Welcome) for event in self._link.poll(timeout_s))

    def close(self) -> None:
        """Close."""
        self._link.close()


@contextmanager
def learners(settings: Settings) -> Iterator[Sequence[Publisher]]:
    """Have a learner of each agent there, so that units are leased."""
    with ExitStack() as stack:
        there = [Publisher(settings, agent.name) for agent in settings.agents]
        for each in there:
            stack.callback(each.close)
        for each in there:
            until(lambda each=each: each.turn(0.1))  # type: ignore[misc]
        yield there


def until(reached: Callable[[], bool]) -> None:
    """Return once it is so."""
    end_s = time.monotonic() + STUCK_S
    while not reached():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {STUCK_S:.0f} s")
