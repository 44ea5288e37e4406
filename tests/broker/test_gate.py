"""A broker with keys: who comes in, as whom, and who does not. Real sockets, real CURVE."""

import socket as plain
import time

import pytest
import zmq

from broker.router import TICK_S
from common import wire
from common.errors import BrokerUnreachable, KeptOut, SettingsError
from common.keys import KeyHolder
from common.links import CollectorLink, Delivered, LeasedUnit, OperatorLink, Transport
from common.messages import (
    Action,
    BatchHeader,
    Command,
    Credit,
    LearnerReport,
    LogRecord,
    Refusal,
    Role,
    StoreTotals,
    Totals,
    Welcome,
)
from common.session import hello, new_session
from common.zmq import sockets
from common.zmq.keys import KeyDirectory, PeerKeys, public_key
from common.zmq.ports import Ports
from tests.broker.live import LiveBroker, way_to
from tests.links.peers import IDENTITY, Actor, Learner, weights
from tests.until import until

HOLDERS = {
    "actor": KeyHolder(Role.ACTOR, "actor-0"),
    "other": KeyHolder(Role.ACTOR, "actor-1"),
    "white": KeyHolder(Role.LEARNER, "white"),
    "black": KeyHolder(Role.LEARNER, "black"),
    "logs": KeyHolder(Role.COLLECTOR, "logs"),
    "operator": KeyHolder(Role.OPERATOR, "anna"),
}
SILENCE_S = 0.5


@pytest.fixture
def directory(tmp_path) -> KeyDirectory:
    found = KeyDirectory(tmp_path / "keys")
    found.init()
    for holder in HOLDERS.values():
        found.add(holder)
    return found


@pytest.fixture
def broker(base_port, directory):
    with LiveBroker(base_port, keys=directory.broker()) as broker:
        yield broker


class Peers:
    """Makes peers with the keys of whom they are told to be."""

    def __init__(self, base_port, directory, closing):
        self._base_port, self._directory, self._closing = base_port, directory, closing

    def keys(self, who: str) -> PeerKeys:
        return self._directory.peer(HOLDERS[who])

    def way(self, who: str) -> Transport:
        return way_to(self._base_port, self.keys(who))

    def actor(self, name="actor-0", who="actor", **others) -> Actor:
        found = Actor(self.way(who), name, **others)
        self._closing(found.link)
        return found

    def learner(self, agent, who=None, **others) -> Learner:
        found = Learner(self.way(who or agent), agent, **others)
        self._closing(found.link)
        return found

    def collector(self) -> CollectorLink:
        return self._closing(self.way("logs").collector("logs", new_session()))

    def operator(self, who="operator", keys=None) -> OperatorLink:
        return self._closing(way_to(self._base_port, keys or self.keys(who)).operator())

    def raw(self, kind: int, channel: str, keys: PeerKeys | None, identity: str | None = None) -> zmq.Socket:
        socket = self._closing(sockets.make(zmq.Context.instance(), kind))
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        if identity is not None:
            socket.setsockopt(zmq.ROUTING_ID, identity.encode())
        sockets.connect(socket, getattr(Ports("127.0.0.1", self._base_port), channel), keys)
        return socket


@pytest.fixture
def peers(base_port, directory, closing):
    return Peers(base_port, directory, closing)


def dropped(broker, reason: str) -> int:
    return broker.router.desk.dropped[reason]


def test_everybody_with_a_key_works_as_in_the_clear(broker, peers):
    learners = [peers.learner(agent).join() for agent in ("white", "black")]
    actor = peers.actor()
    (leased,) = actor.wait(LeasedUnit)
    actor.send(leased.lease.unit, "white")
    (delivered,) = learners[0].wait(Delivered)
    assert delivered.body == b"batch"
    until(
        lambda: broker.router._weights.version("white", learners[0].session) == 1,
        lambda: (learners[0].link.publish(*learners[0].weights(1)), learners[0].poll()),
    )
    logs = peers.collector()
    operator = peers.operator()
    until(lambda: len(operator.status(5.0).services) == 4, lambda: logs.poll(0.01))
    assert operator.command("pause", [], 5.0) == (["actor-0"], [])
    assert not broker.router.desk.dropped


@pytest.mark.parametrize("channel", ["control", "experience", "delivery", "weights_in", "logs_in"])
def test_nobody_without_an_allowed_key_gets_a_word_in(broker, peers, directory, tmp_path, channel):
    stranger = KeyDirectory(tmp_path / "stranger")
    stranger.init()
    stranger.add(HOLDERS["actor"])
    unlisted = stranger.peer(HOLDERS["actor"])
    right = peers.keys("actor")
    tried = {
        "no key": None,
        "wrong server key": PeerKeys(stranger.broker_public(), right.public, right.secret),
        "unlisted key": PeerKeys(directory.broker_public(), unlisted.public, unlisted.secret),
        "a public key without its secret": PeerKeys(directory.broker_public(), right.public, unlisted.secret),
    }
    kinds = {"experience": zmq.PUSH, "weights_in": zmq.PUSH, "logs_in": zmq.PUSH}
    for keys in tried.values():
        socket = peers.raw(kinds.get(channel, zmq.DEALER), channel, keys)
        assert not socket.poll(int(SILENCE_S * 1000), zmq.POLLOUT)
    assert peers.operator().status(5.0).services == []


ENTRIES = {
    "actor": {"control", "experience", "weights_out", "logs_in"},
    "white": {"control", "delivery", "weights_in", "logs_in"},
    "logs": {"control", "logs_out"},
    "operator": {"control"},
}
PEER_KINDS = {
    "control": zmq.DEALER, "experience": zmq.PUSH, "delivery": zmq.DEALER, "weights_in": zmq.PUB,
    "weights_out": zmq.SUB, "logs_in": zmq.XPUB, "logs_out": zmq.SUB,
}  # fmt: skip


@pytest.mark.parametrize("who", ENTRIES)
def test_a_key_opens_the_channels_of_its_role_alone(broker, peers, who):
    watched = {}
    for channel, kind in PEER_KINDS.items():
        socket = sockets.make(zmq.Context.instance(), kind)
        monitor = socket.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        sockets.connect(socket, getattr(broker.router._ports, channel), peers.keys(who))
        watched[channel] = (socket, monitor)
    try:
        for channel in ENTRIES[who]:
            assert watched[channel][1].poll(5000), channel
        time.sleep(SILENCE_S)
        entered = {
            channel for channel, (_, monitor) in watched.items() if channel in ENTRIES[who] or monitor.poll(0)
        }
        assert entered == ENTRIES[who]
        until(lambda: dropped(broker, "connection refused") >= len(PEER_KINDS) - len(ENTRIES[who]))
    finally:
        for socket, _ in watched.values():
            socket.disable_monitor()
            socket.close(linger=0)


def test_a_hello_under_another_name_or_role_is_refused(broker, peers):
    claims = {
        "actor": {"role": Role.ACTOR, "name": "actor-1"},
        "other": {"role": Role.LEARNER, "name": "learner-white", "agent": "white"},
        "white": {"role": Role.LEARNER, "name": "learner-white", "agent": "black"},
        "black": {"role": Role.COLLECTOR, "name": "learner-black"},
        "logs": {"role": Role.ACTOR, "name": "logs"},
        "operator": {"role": Role.ACTOR, "name": "anna"},
    }
    for who, claim in claims.items():
        session = new_session()
        socket = peers.raw(zmq.DEALER, "control", peers.keys(who), session)
        assert socket.poll(5000, zmq.POLLOUT)
        socket.send(wire.encode(hello(session=session, settings=IDENTITY, **claim)))
        assert socket.poll(5000)
        reply = wire.decode(socket.recv(), Refusal | Welcome)
        assert isinstance(reply, Refusal), who
        assert f"this key is that of {HOLDERS[who]}" in reply.reason
    assert peers.operator().status(5.0).services == []


def test_only_an_operator_gives_orders(broker, peers):
    for who in ("actor", "white", "logs"):
        socket = peers.raw(zmq.DEALER, "control", peers.keys(who))
        assert socket.poll(5000, zmq.POLLOUT)
        socket.send(wire.encode(Command(action=Action.RESET, names=[])))
    until(lambda: dropped(broker, "only operators give orders") == 3)


def test_nobody_speaks_for_another(broker, peers):
    white, black = (peers.learner(agent).join() for agent in ("white", "black"))
    actor = peers.actor()
    (leased,) = actor.wait(LeasedUnit)
    unit = leased.lease.unit

    push = peers.raw(zmq.PUSH, "experience", peers.keys("other"))
    assert push.poll(5000, zmq.POLLOUT)
    header = BatchHeader(unit=unit, agent="white", transitions=1, games=1, actor="actor-0")
    push.send_multipart([wire.encode(header), b"forged"])
    until(lambda: dropped(broker, "batch of another actor") == 1)

    publish = peers.raw(zmq.PUB, "weights_in", peers.keys("black"))
    envelope, body = weights("white", 9, session=white.session)
    until(
        lambda: dropped(broker, "weights of another agent"),
        lambda: (publish.send_multipart([b"white", wire.encode(envelope), body]), time.sleep(0.02)),
    )
    assert broker.router._weights.version("white", white.session) == -1

    credit = peers.raw(zmq.DEALER, "delivery", peers.keys("black"), white.session)
    assert credit.poll(5000, zmq.POLLOUT)
    credit.send(wire.encode(Credit(agent="white", session=white.session, batches=99)))
    until(lambda: dropped(broker, "credit of another agent") == 1)

    intruder = peers.raw(zmq.DEALER, "control", peers.keys("actor"), black.session)
    assert intruder.poll(5000, zmq.POLLOUT)
    said = LearnerReport(
        agent="black", session=black.session, totals=StoreTotals(), trained_units=8, transitions_trained=0,
        step=0, version=0,
    )  # fmt: skip
    intruder.send(wire.encode(said))
    until(lambda: dropped(broker, "session of another service") == 1)
    assert broker.dispatcher.ledgers["black"].trained_units == 0

    records = peers.raw(zmq.XPUB, "logs_in", peers.keys("actor"))
    record = LogRecord(source="learner-white.1", number=0, time_ns=0, level="INFO", logger="x", event="lies")
    collector = peers.collector()
    until(
        lambda: dropped(broker, "log record of another service"),
        lambda: (records.send(wire.encode(record)), collector.poll(0.01)),
    )


def test_a_revoked_key_is_cut_off_and_the_others_go_on(broker, peers, directory):
    learners = [peers.learner(agent).join() for agent in ("white", "black")]
    actor, other = peers.actor(), peers.actor("actor-1", who="other")
    actor.wait(LeasedUnit)
    unit = other.wait(LeasedUnit)[0].lease.unit
    directory.revoke(HOLDERS["actor"])
    until(lambda: dropped(broker, "connection refused"), lambda: (actor.poll(), other.poll()))
    operator = peers.operator()

    def names() -> set[str]:
        try:
            return {service.name for service in operator.status(2.0).services}
        except BrokerUnreachable:
            return set()

    def everybody() -> None:
        actor.renew([], 0)
        other.renew([unit], 0)
        for peer in learners:
            peer.report()
        for peer in (actor, other, *learners):
            peer.poll()

    until(lambda: names() == {"actor-1", "learner-white", "learner-black"}, everybody)
    before = len(learners[0].of(Delivered))
    until(
        lambda: len(learners[0].of(Delivered)) > before,
        lambda: (other.send(unit, "white"), learners[0].link.credit(8), everybody()),
    )
    assert not actor.link.send(BatchHeader(unit=0, agent="white", transitions=1, games=1, actor="actor-0"), b"late")


def test_a_key_that_is_allowed_while_the_broker_runs_comes_in(monkeypatch, broker, peers, directory):
    monkeypatch.setattr(sockets, "HANDSHAKE_MS", 500)  # when one that was not let in comes again
    late = KeyHolder(Role.OPERATOR, "late")
    directory.add(late)
    operator = peers.operator(keys=directory.peer(late))
    until(lambda: broker.router._gate._allow.holder(directory.peer(late).public))
    assert operator.status(15.0).services == []


def test_a_list_that_can_not_be_read_leaves_the_one_before_in_force(broker, peers, directory, monkeypatch):
    actor = peers.actor()
    actor.wait(Welcome)
    (directory.path / "broker.key").unlink()
    with monkeypatch.context() as patched:
        patched.setattr("broker.gate.KeyDirectory.stamps", unreadable)
        time.sleep(2 * TICK_S)
    assert peers_of(broker) == {"actor-0"}
    directory.add(KeyHolder(Role.ACTOR, "late"))
    until(lambda: broker.router._gate._allow.holder(directory_key(directory, "late")))
    assert peers_of(broker) == {"actor-0"}


def unreadable(directory: KeyDirectory):
    raise SettingsError("allow: can't be read")


def peers_of(broker: LiveBroker) -> set[str]:
    return set(broker.router.desk.registry.by_name)


def directory_key(directory: KeyDirectory, actor: str) -> bytes:
    return public_key(directory.path / "allow" / "actors" / f"{actor}.key")


def test_a_collector_that_goes_is_known_to_have_gone(broker, peers):
    records = peers.raw(zmq.XPUB, "logs_in", peers.keys("actor"))
    collector = peers.raw(zmq.SUB, "logs_out", peers.keys("logs"))
    collector.setsockopt(zmq.SUBSCRIBE, b"")
    until(lambda: records.poll(10), lambda: collector.poll(10))
    assert records.recv() == b"\x01"
    collector.close()
    assert records.poll(5000)
    assert records.recv() == b"\x00"
    assert not dropped(broker, "key not allowed any more")


def test_a_service_whose_key_is_revoked_at_work_says_so(broker, peers, directory, monkeypatch, caplog):
    monkeypatch.setattr(sockets, "HANDSHAKE_MS", 300)
    actor = peers.actor()
    actor.wait(Welcome)
    directory.revoke(HOLDERS["actor"])
    until(lambda: "the broker does not let us in" in [record.message for record in caplog.records], actor.poll)


def test_a_key_that_is_in_two_lists_is_in_none(base_port, directory):
    twin = directory.path / "allow" / "operators" / "twin.key"
    twin.write_bytes((directory.path / "allow" / "actors" / "actor-0.key").read_bytes())
    with LiveBroker(base_port, keys=directory.broker()) as broker:
        assert broker.router._gate._allow.holder(directory.peer(HOLDERS["actor"]).public) is None
        twin.unlink()
        until(lambda: broker.router._gate._allow.holder(directory.peer(HOLDERS["actor"]).public) is not None)


def test_an_operator_who_is_kept_out_is_told_so(broker, peers, directory):
    keys = peers.keys("operator")
    directory.revoke(HOLDERS["operator"])
    until(lambda: broker.router._gate._allow.holder(keys.public) is None)
    with pytest.raises(KeptOut, match="does not let us in: is this key in its allow list"):
        peers.operator(keys=keys).status(1.0)


def test_idle_connections_and_broken_handshakes_hold_nobody_up(broker, peers, base_port):
    idle = [plain.create_connection(("127.0.0.1", base_port)) for _ in range(200)]
    for number, connection in enumerate(idle[:100]):
        connection.sendall((b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE" + b"\x00" * 48)[: number % 65])
    for connection in idle[50:150]:
        connection.close()  # in mid-handshake
    assert peers.operator().status(5.0).services == []
    peers.actor().wait(Welcome)
    for connection in idle:
        connection.close()


def test_totals_still_come_to_learners(broker, peers):
    white = peers.learner("white").join()
    assert white.wait(Totals)[0].units == 8
