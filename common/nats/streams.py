"""Making a run's streams, consumers and buckets as planned, and reading what lies in them.

Used by the broker, which alone may. What is there already is left as it is, but for settings of ours that differ.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from common.errors import MessageError, OperatorError
from common.nats import objects
from common.nats.connection import NOT_FOUND, Away, NatsConnection, NobodyThere, Rejected
from common.nats.names import ACTORS, NatsNames
from common.nats.plan import DESCRIPTION, Config, NatsPlan
from common.nats.stock import Stock
from common.nats.unit_objects import object_name, unit_of
from common.words import AgentName, Unit

log = logging.getLogger(__name__)

PREPARE_S = 30.0
"""How long a cluster may take to be ready: it has to have a leader first."""
AGAIN_S = 0.3
API_S = 4.0
"""How long one request may take; while a cluster has no leader, none is answered, and it is made again."""
NOBODY_S = 3.0
"""How long nobody at all may take what is asked of JetStream."""
_UNAVAILABLE = 503
_NO_PEERS = 10005
"""The server's code for "no suitable peers for placement": of a cluster that has just been started, too."""
_NOT_ENABLED = {10039, 10076}
"""The server's codes for "JetStream not enabled", in the account and at all."""
_NO_JETSTREAM = "that NATS server has no JetStream: start it with -js, or see to `jetstream` in its configuration"


async def prepare(connection: NatsConnection, plan: NatsPlan, *, timeout_s: float = PREPARE_S) -> None:
    """Make the streams and consumers of a plan, and change those that are there and differ.

    Raises OperatorError, one clear line, for what does not fit and can't be changed, and Away where the server, or
    the leader of its cluster, does not answer in time. To be done again at any time.
    """
    end_s = time.monotonic() + timeout_s
    for config in plan.streams():
        await _insist(lambda config=config: _make_stream(connection, config), end_s)  # type: ignore[misc]
    for stream, config in plan.consumers():
        await _insist(lambda stream=stream, config=config: _make_consumer(connection, stream, config), end_s)  # type: ignore[misc]


async def read_stock(connection: NatsConnection, names: NatsNames, agents: Iterable[AgentName] = ()) -> Stock:
    """Return what lies in the streams; raise Away or Rejected where they can't be read."""
    # Units first: one that is gone by then has had its batches in the stream before.
    units: set[Unit] = set()
    async for subject in subjects_in(connection, names.units_stream, names.units):
        try:
            units.add(names.unit_of(subject))
        except MessageError:
            log.warning("a foreign message among the units", extra={"subject": subject})
    batches: set[tuple[AgentName, Unit]] = set()
    async for subject in subjects_in(connection, names.experience_stream, names.experience):
        try:
            batches.add(names.batch_of(subject))
        except MessageError:
            log.warning("a foreign message in the experience", extra={"subject": subject})
    games: set[Unit] = set()
    async for subject in subjects_in(connection, names.games.stream, names.games.abouts):
        unit = unit_of(names.games.object_of(subject))
        if unit is not None:
            games.add(unit)
    # Consumers last: what has come meanwhile counts as waiting.
    waiting, _ = await _pending(connection, names.units_stream, ACTORS)
    idle = [agent for agent in agents if await _is_idle(connection, names, agent)]
    return Stock(
        batches=frozenset(batches), units=frozenset(units), games=frozenset(games), units_waiting=waiting,
        idle=frozenset(idle),
    )  # fmt: skip


async def _is_idle(connection: NatsConnection, names: NatsNames, agent: AgentName) -> bool:
    return await _pending(connection, names.experience_stream, names.learner(agent)) == (0, 0)


async def _pending(connection: NatsConnection, stream: str, consumer: str) -> tuple[int, int]:
    """Return how many messages wait for a consumer's fetching, and how many it has fetched and not acknowledged."""
    about = await connection.api(f"CONSUMER.INFO.{stream}.{consumer}", timeout_s=API_S)
    return int(about.get("num_pending", 0)), int(about.get("num_ack_pending", 0))


async def delete_all(connection: NatsConnection, stream: str, subject: str) -> None:
    """Take all messages of one subject out of a stream; raises Away and Rejected.

    One by one: where a subject is purged, a server of 2.9.10 has consumers pass over what stands behind, unread.
    """
    while True:
        try:
            last = await connection.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, timeout_s=API_S)
        except Rejected as error:
            if error.code == NOT_FOUND:
                return
            raise
        request = {"seq": last["message"]["seq"], "no_erase": True}
        await connection.api(f"STREAM.MSG.DELETE.{stream}", request, timeout_s=API_S)


async def drop_all_units(connection: NatsConnection, names: NatsNames) -> None:
    """Take all units out of their stream, whoever they are leased to; raises Away and Rejected."""
    await connection.api(f"STREAM.PURGE.{names.units_stream}", timeout_s=API_S)


async def drop_batches(
    connection: NatsConnection, names: NatsNames, batches: Iterable[tuple[AgentName, Unit]]
) -> None:
    """Take batches out of their stream, all parts of them; raises Away and Rejected."""
    for agent, unit in batches:
        await delete_all(connection, names.experience_stream, names.batch(agent, unit))


async def drop_units(connection: NatsConnection, names: NatsNames, units: Iterable[Unit]) -> None:
    """Take units out of their stream, and their games out of the object store; raises Away and Rejected."""
    for unit in units:
        await delete_all(connection, names.units_stream, names.unit(unit))
        about = await objects.look(connection, names.games, object_name(unit))
        if about is not None:
            await objects.remove(connection, names.games, about)


async def subjects_in(connection: NatsConnection, stream: str, pattern: str) -> AsyncIterator[str]:
    """Yield the subjects of a stream's messages that match; a server gives 100,000 of them at a time."""
    offset, total = 0, 1
    while offset < total:
        request = {"subjects_filter": pattern, "offset": offset}
        answer = await connection.api(f"STREAM.INFO.{stream}", request, timeout_s=API_S)
        page = answer.get("state", {}).get("subjects") or {}
        for subject in page:
            yield subject
        if not page:
            return
        offset, total = offset + len(page), int(answer.get("total", 0))


async def _insist(make: Callable[[], Awaitable[None]], end_s: float) -> None:
    """Try again while the cluster has no leader, or too few servers yet, or does not answer."""
    nobody_s = time.monotonic() + NOBODY_S
    while True:
        now_s = time.monotonic()
        try:
            return await make()
        except Rejected as error:
            if error.error_code in _NOT_ENABLED:
                raise OperatorError(_NO_JETSTREAM) from error
            not_yet = error.code == _UNAVAILABLE or error.error_code == _NO_PEERS
            if not not_yet or now_s > end_s:
                raise
        except NobodyThere as error:
            if now_s > nobody_s:
                raise OperatorError(_NO_JETSTREAM) from error
        except Away:
            if now_s > end_s:
                raise
        await asyncio.sleep(AGAIN_S)


async def _make_stream(connection: NatsConnection, config: Config) -> None:
    name = config["name"]
    found = await _look(connection, f"STREAM.INFO.{name}")
    if found is None:
        made = await connection.api(f"STREAM.CREATE.{name}", config, timeout_s=API_S)
        log.info("stream made", extra={"stream": name})
    elif changes := _differences(found["config"], config):
        if "description" in changes:
            await _empty(connection, found, config)
        made = await _change(
            connection, f"STREAM.UPDATE.{name}", found["config"] | config, f"stream {name}", changes
        )
        log.info("stream changed", extra={"stream": name, "settings": ", ".join(changes)})
    else:
        made = found
    _check_replicas(made, config)


async def _empty(connection: NatsConnection, found: Mapping[str, Any], config: Config) -> None:
    """See to it that nothing of another run is taken for this one's; raise OperatorError where that is work."""
    name, messages = config["name"], int(found.get("state", {}).get("messages", 0))
    if not str(found["config"].get("description", "")).startswith(DESCRIPTION) or not messages:
        return
    if config["retention"] == "workqueue":
        raise OperatorError(
            f"stream {name} holds {messages:,} messages of a run of other games or settings: choose another "
            f"--namespace, or, if that run is over, throw them away: rookery-broker … --discard"
        )
    await connection.api(f"STREAM.PURGE.{name}", timeout_s=API_S)


async def discard(connection: NatsConnection, plan: NatsPlan) -> None:
    """Throw away what another run has left in the streams of this one's names, but for the logs."""
    for config in plan.streams():
        name = config["name"]
        found = await _look(connection, f"STREAM.INFO.{name}")
        if found is not None and config["subjects"] != [plan.names.logs]:
            await connection.api(f"STREAM.PURGE.{name}", timeout_s=API_S)
            log.info("stream emptied", extra={"stream": name, "messages": found["state"]["messages"]})


async def deliver_anew(connection: NatsConnection, plan: NatsPlan, agent: AgentName) -> None:
    """Have what is under way to an agent's learner delivered again at once: it may be another one now.

    Else the server would wait for the acknowledgements of one that is gone. A consumer forgets by being made anew.
    Raises Away where the connection is lost meanwhile; `prepare` then makes what is missing.
    """
    name = plan.names.learner(agent)
    stream, config = next(found for found in plan.consumers() if found[1]["durable_name"] == name)
    about = await _look(connection, f"CONSUMER.INFO.{stream}.{name}")
    if about is not None and not about.get("num_ack_pending", 0):
        return
    if about is not None:
        await connection.api(f"CONSUMER.DELETE.{stream}.{name}", timeout_s=API_S)
    await _insist(lambda: _make_consumer(connection, stream, config), time.monotonic() + PREPARE_S)


async def _make_consumer(connection: NatsConnection, stream: str, config: Config) -> None:
    name = config["durable_name"]
    found = await _look(connection, f"CONSUMER.INFO.{stream}.{name}")
    make = f"CONSUMER.DURABLE.CREATE.{stream}.{name}"
    if found is None:
        await connection.api(make, {"stream_name": stream, "config": config}, timeout_s=API_S)
        log.info("consumer made", extra={"stream": stream, "consumer": name})
    elif changes := _differences(found["config"], config):
        request = {"stream_name": stream, "config": found["config"] | config}
        await _change(connection, make, request, f"consumer {name} of stream {stream}", changes)
        log.info("consumer changed", extra={"consumer": name, "settings": ", ".join(changes)})


async def _look(connection: NatsConnection, verb: str) -> dict[str, Any] | None:
    try:
        return await connection.api(verb, timeout_s=API_S)
    except Rejected as error:
        if error.code != NOT_FOUND:
            raise
        return None


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that differ, each with what it is and what it is to be."""
    return {
        name: f"{name} is {found.get(name)!r} and is to be {value!r}"
        for name, value in wanted.items()
        if found.get(name) != value
    }


async def _change(
    connection: NatsConnection, verb: str, request: Config, what: str, changes: Mapping[str, str]
) -> dict[str, Any]:
    try:
        return await connection.api(verb, request, timeout_s=API_S)
    except Rejected as error:
        if error.code == _UNAVAILABLE:
            raise
        raise OperatorError(
            f"{what} is there with other settings, and can't be changed ({error.description}): "
            f"{'; '.join(changes.values())}: remove it with `nats`, or choose another --namespace"
        ) from error


def _check_replicas(made: Mapping[str, Any], config: Config) -> None:
    # A server that stands alone takes an update to three replicas without a word, and keeps one.
    others = (made.get("cluster") or {}).get("replicas") or ()
    if config["num_replicas"] > 1 + len(others):
        raise OperatorError(
            f"stream {config['name']} is to have {config['num_replicas']} replicas, and has {1 + len(others)}: "
            "that takes a cluster of as many servers with JetStream, or --replicas 1"
        )
