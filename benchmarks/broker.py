"""Transitions a second through a real broker process with two agents, against zmq.proxy with the same messages.

Two senders push the batches of real games, white's and black's in turn, envelopes made before the clock
starts. Two receivers take them in and read the envelopes; behind the broker each is a learner's link, which
also acknowledges. Behind zmq.proxy (PULL to PUSH, as the broker's high-water marks) whichever receiver is
free gets a message. Clocked from the first message sent to the last one received.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import zmq

from benchmarks.figure import Figure, interleaved, rate_figure
from benchmarks.real_games import batches, games_file
from benchmarks.scale import Scale
from benchmarks.services import HOST, free_base_port, service, wait_for
from common import wire
from common.batch import encode
from common.keys import KeyHolder
from common.links import Delivered, Transport
from common.messages import BatchHeader, Role, StoredUnit, StoreTotals
from common.security import operator_of, reach, reach_as_operator
from common.session import hello, new_session
from common.settings import Settings, identity
from common.zmq import sockets
from common.zmq.keys import KeyDirectory, PeerKeys
from common.zmq.ports import Ports

SENDERS = 2
CREDIT = 32  # as a learner's
WINDOW_UNITS = 256
"""How far senders run ahead of the receivers: a run's window (64 units by default) bounds it in the same way."""
STUCK_S = 20.0
PROMISED_TRANSITIONS_S = 5e6

_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The messages: bodies of real batches, gone round as often as it takes."""

    bodies: dict[str, list[bytes]]
    """By agent."""
    transitions: dict[str, list[int]]
    """Of each body."""
    games_per_unit: int
    units: int
    """Units sent, one message each for every agent."""

    @property
    def messages(self) -> int:
        return self.units * len(self.bodies)

    @property
    def total_transitions(self) -> int:
        return sum(counts[unit % len(counts)] for counts in self.transitions.values() for unit in range(self.units))

    @property
    def mean_bytes(self) -> float:
        sizes = [len(body) for bodies in self.bodies.values() for body in bodies]
        return sum(sizes) / len(sizes)

    def header(self, unit: int, agent: str) -> BatchHeader:
        counts = self.transitions[agent]
        return BatchHeader(
            unit=unit,
            agent=agent,
            transitions=counts[unit % len(counts)],
            games=self.games_per_unit,
            actor="actor-0",
        )


@dataclass(frozen=True, slots=True)
class Clock:
    """What the processes of one run share."""

    start: Barrier
    received: "Synchronized[int]"
    """Messages that all receivers have taken in."""
    begun_s: "Synchronized[float]"
    """Monotonic time of the first message sent."""
    ended_s: "Synchronized[float]"
    """Monotonic time of the last one received."""
    stop: Event


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure the default unit size, and larger ones."""
    default = Settings().games_per_unit
    for times, distinct, count in ((1, 32, 60_000), (4, 8, 24_000), (16, 4, 8_000)):
        games_per_unit = times * default
        pairs = batches(scale, scale.of(distinct, 2), games_per_unit)
        load = Load(
            bodies={batch.agent: [encode(pair[index]) for pair in pairs] for index, batch in enumerate(pairs[0])},
            transitions={batch.agent: [len(pair[index]) for pair in pairs] for index, batch in enumerate(pairs[0])},
            games_per_unit=games_per_unit,
            units=scale.of(count, 500),
        )
        measures: dict[str, Callable[[], float]] = {
            "broker": partial(through_broker, scale, load),
            "keys": partial(through_broker, scale, load, with_keys=True),
            "proxy": partial(through_proxy, load),
        }
        taken = interleaved(scale.of(5, 1), measures)
        note = f"{load.messages} messages of {load.mean_bytes / 1000:.1f} kB"
        broker = rate_figure(
            f"transitions/s through the broker, {games_per_unit} games a unit",
            "transitions/s",
            taken["broker"],
            taken["proxy"],
            against="zmq.proxy, same messages",
            at_least=0.8,
            note=note,
        )
        yield broker
        yield rate_figure(
            f"the same with keys (CURVE), {games_per_unit} games a unit",
            "transitions/s",
            taken["keys"],
            taken["broker"],
            against="in the clear",
            at_least=None,
        )
        if games_per_unit == default:
            yield Figure(
                name=f"the same, {games_per_unit} games a unit",
                value=broker.value,
                unit="transitions/s",
                reference=PROMISED_TRANSITIONS_S,
                against="5 million",
                ratio=broker.value / PROMISED_TRANSITIONS_S,
                at_least=1.0,
            )


def through_broker(scale: Scale, load: Load, *, with_keys: bool = False) -> float:
    """Return the transitions/s of one run through a broker process."""
    with TemporaryDirectory(dir=scale.work) as directory:
        settings = Settings(
            games=(str(games_file()),) * 4,  # more than the broker reads ahead: any unit may come
            run=directory,
            max_units_ahead=1_000_000,
            base_port=free_base_port(),
            log_level="warning",
        )
        agents = [agent.name for agent in settings.agents]
        if with_keys:
            settings = msgspec.structs.replace(settings, keys=f"{directory}/keys")
            make_keys(settings)
        targets = [
            (learner, (reach(settings, KeyHolder(Role.LEARNER, agent)), agent, identity(settings)))
            for agent in agents
        ]
        keys = KeyDirectory(Path(settings.keys)).peer(KeyHolder(Role.ACTOR, "actor-0")) if settings.keys else None
        endpoint = Ports(settings.broker, settings.base_port).experience

        def ready() -> None:
            operator = reach_as_operator(settings)
            wait_for(operator, lambda status: all(agent.learner == "connected" for agent in status.agents))

        with service("broker", settings):
            return clocked(load, endpoint, targets, ready, keys)


def make_keys(settings: Settings) -> None:
    """Make the keys of everybody who takes part."""
    directory = KeyDirectory(Path(settings.keys or ""))
    directory.init()
    directory.add(operator_of(settings))
    directory.add(KeyHolder(Role.ACTOR, "actor-0"))
    for agent in settings.agents:
        directory.add(KeyHolder(Role.LEARNER, agent.name))


def through_proxy(load: Load) -> float:
    """Return the transitions/s of one run through zmq.proxy."""
    base_port = free_base_port()
    front, back = f"tcp://{HOST}:{base_port}", f"tcp://{HOST}:{base_port + 1}"
    bound = _spawn.Event()
    process = _spawn.Process(target=proxy, args=(front, back, bound), daemon=True)
    with running([process]):
        bound.wait(STUCK_S)
        return clocked(load, front, [(puller, (back,)) for _ in load.bodies], lambda: None)


def clocked(
    load: Load,
    endpoint: str,
    receivers: Sequence[tuple[Callable[..., None], tuple[object, ...]]],
    ready: Callable[[], None],
    keys: PeerKeys | None = None,
) -> float:
    """Send the load to `endpoint` when `ready`, and return the transitions/s at the receivers."""
    clock = Clock(
        start=_spawn.Barrier(1 + SENDERS),
        received=_spawn.Value("q", 0),
        begun_s=_spawn.Value("d", float("inf")),
        ended_s=_spawn.Value("d", 0.0),
        stop=_spawn.Event(),
    )
    takers = [
        _spawn.Process(target=target, args=(clock, *arguments), daemon=True) for target, arguments in receivers
    ]
    senders = [
        _spawn.Process(target=sender, args=(clock, load, endpoint, keys, index), daemon=True)
        for index in range(SENDERS)
    ]
    with running([*takers, *senders]):
        ready()
        clock.start.wait(STUCK_S)
        seen, seen_s = 0, time.monotonic()
        while (now := clock.received.value) < load.messages:
            if now > seen:
                seen, seen_s = now, time.monotonic()
            if time.monotonic() - seen_s > STUCK_S:
                raise TimeoutError(f"{now} of {load.messages} messages arrived")
            time.sleep(0.02)
        clock.stop.set()
        for process in takers:
            process.join(STUCK_S)
    return load.total_transitions / (clock.ended_s.value - clock.begun_s.value)


@contextmanager
def running(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Start processes, and end them with the block."""
    with ExitStack() as stack:
        for process in processes:
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
        yield


# What the processes do ----------------------------------------------------------------------------------


def sender(clock: Clock, load: Load, endpoint: str, keys: PeerKeys | None, index: int) -> None:
    """Push every SENDERS-th unit's messages, one for each agent."""
    messages = [
        [wire.encode(load.header(unit, agent)), bodies[unit % len(bodies)]]
        for unit in range(index, load.units, SENDERS)
        for agent, bodies in load.bodies.items()
    ]
    push = sockets.make(zmq.Context.instance(), zmq.PUSH, hwm=64)  # as an actor's link
    push.setsockopt(zmq.IMMEDIATE, 1)
    sockets.connect(push, endpoint, keys)
    push.poll(round(STUCK_S * 1000), zmq.POLLOUT)
    clock.start.wait()
    now_s = time.monotonic()
    with clock.begun_s.get_lock():
        clock.begun_s.value = min(clock.begun_s.value, now_s)
    received, per_unit = clock.received.get_obj(), len(load.bodies)
    for number, message in enumerate(messages):
        while number * SENDERS > received.value + WINDOW_UNITS * per_unit:
            time.sleep(1e-4)
        push.send_multipart(message)
    push.close(linger=round(STUCK_S * 1000))
    zmq.Context.instance().term()


def learner(clock: Clock, transport: Transport, agent: str, settings: dict[str, str]) -> None:
    """Take deliveries in and acknowledge them in groups: a learner whose store and training cost nothing."""
    session = new_session()
    link = transport.learner(
        agent,
        session,
        lambda: hello(Role.LEARNER, f"learner-{agent}", session, agent=agent, settings=settings),
    )
    group: list[StoredUnit] = []
    transitions = units = 0
    credit_s = 0.0
    while not clock.stop.is_set():
        if time.monotonic() >= credit_s:
            link.credit(CREDIT)
            credit_s = time.monotonic() + 0.2
        headers = [event.header for event in link.poll(0.02) if isinstance(event, Delivered)]
        note(clock, len(headers))
        group += [
            StoredUnit(unit=header.unit, transitions=header.transitions, duplicate=False) for header in headers
        ]
        if len(group) >= CREDIT // 2 or (group and not headers):
            units += len(group)
            transitions += sum(stored.transitions for stored in group)
            link.stored(group, StoreTotals(units=units, transitions=transitions))
            group = []
    link.close()


def puller(clock: Clock, endpoint: str) -> None:
    """Take messages in."""
    pull = sockets.make(zmq.Context.instance(), zmq.PULL, hwm=64)
    pull.connect(endpoint)
    while not clock.stop.is_set():
        if not pull.poll(50):
            continue
        delivered: list[Delivered] = []
        for _ in range(sockets.MAX_DRAINED):
            try:
                frames = sockets.receive(pull)
            except zmq.Again:
                break
            delivered.append(Delivered(wire.decode_batch_header(frames[0].bytes), frames[1].bytes))
        note(clock, len(delivered))


def note(clock: Clock, count: int) -> None:
    """Count messages, and keep the time of the last one."""
    if not count:
        return
    now_s = time.monotonic()
    with clock.received.get_lock():
        clock.received.value += count
        clock.ended_s.value = max(clock.ended_s.value, now_s)


def proxy(front: str, back: str, bound: Event) -> None:
    """Run zmq.proxy, with the broker's high-water marks."""
    context: sockets.Context = zmq.Context.instance()
    pull = sockets.make(context, zmq.PULL, hwm=64)
    push = sockets.make(context, zmq.PUSH, hwm=256)
    pull.bind(front)
    push.bind(back)
    bound.set()
    zmq.proxy(pull, push)
