import pytest
import zmq

from common.errors import OperatorError
from common.keys import KeyHolder
from common.messages import Role
from common.zmq import sockets
from common.zmq.keys import KeyDirectory
from common.zmq.ports import CHANNELS, Ports


@pytest.fixture
def made():
    """Makes sockets that are closed after the test."""
    kept = []

    def make(kind: int) -> zmq.Socket:
        kept.append(sockets.make(zmq.Context.instance(), kind))
        return kept[-1]

    yield make
    for socket in kept:
        socket.close(linger=0)


def test_the_seven_channels_have_seven_ports_in_a_row():
    ports = Ports(host="train1", base_port=5750)
    endpoints = [getattr(ports, channel) for channel in CHANNELS]
    assert endpoints == [f"tcp://train1:{port}" for port in range(5750, 5757)]


def test_a_taken_port_is_one_line_that_says_what_to_do(made, base_port):
    endpoint = Ports("127.0.0.1", base_port).control
    sockets.bind(made(zmq.ROUTER), endpoint)
    with pytest.raises(OperatorError) as caught:
        sockets.bind(made(zmq.ROUTER), endpoint)
    assert str(caught.value) == f"{endpoint} is taken: is another broker running? Choose another --base-port"


def test_an_address_of_another_host_cannot_be_listened_on(made):
    with pytest.raises(OperatorError, match=r"can't listen on tcp://192\.0\.2\.1:5750: .*; check --bind"):
        sockets.bind(made(zmq.ROUTER), "tcp://192.0.2.1:5750")


@pytest.mark.parametrize("host", ["a b", "*", "a\tb"])
def test_what_is_no_address_cannot_be_connected_to(made, host):
    with pytest.raises(OperatorError, match="is not an address: .*; check --broker"):
        sockets.connect(made(zmq.DEALER), Ports(host, 5750).control, None)


def test_queues_and_frames_are_bounded(made):
    socket = made(zmq.DEALER)
    assert socket.getsockopt(zmq.SNDHWM) == socket.getsockopt(zmq.RCVHWM) == 1000
    assert socket.getsockopt(zmq.MAXMSGSIZE) > 0
    assert socket.getsockopt(zmq.LINGER) == sockets.LINGER_MS


def test_a_guarded_socket_lets_nobody_in_while_no_handler_answers(made, base_port, tmp_path):
    keys = KeyDirectory(tmp_path / "keys")
    keys.init()
    actor = KeyHolder(Role.ACTOR, "far-0")
    keys.add(actor)
    ports = Ports("127.0.0.1", base_port, keys.peer(actor))
    server = made(zmq.PULL)
    sockets.guard(server, keys.broker().secret, "experience")
    sockets.bind(server, ports.experience)
    client = made(zmq.PUSH)
    client.setsockopt(zmq.IMMEDIATE, 1)
    sockets.connect(client, ports.experience, ports.keys)
    assert not client.poll(500, zmq.POLLOUT)


class Deaf:
    """A socket of a libzmq that takes the options and does nothing about them."""

    def setsockopt(self, option, value):
        pass

    def getsockopt(self, option):
        return 0

    def getsockopt_string(self, option):
        return ""


def test_a_libzmq_that_does_not_keep_strangers_out_is_refused():
    with pytest.raises(OperatorError, match="does not keep strangers out"):
        sockets.guard(Deaf(), b"x" * 40, "control")


def test_a_message_of_many_frames_is_cut_to_a_few(made, base_port):
    endpoint = Ports("127.0.0.1", base_port).experience
    server, client = made(zmq.PULL), made(zmq.PUSH)
    sockets.bind(server, endpoint)
    sockets.connect(client, endpoint, None)
    client.send_multipart([b"x"] * 1000)
    client.send_multipart([b"y", b"z"])
    assert server.poll(5000)
    assert len(sockets.receive(server)) == sockets.MAX_FRAMES
    assert server.poll(5000)
    assert [frame.bytes for frame in sockets.receive(server)] == [b"y", b"z"]
