import subprocess
import sys

import pytest

from common.errors import SettingsError
from common.keys import KeyHolder
from common.links import Transport
from common.messages import Role
from common.security import is_loopback, listen, reach, reach_as_operator
from common.settings import Settings
from common.zmq.keys import KeyDirectory, PeerKeys
from common.zmq.transport import ZmqTransport

ACTOR = KeyHolder(Role.ACTOR, "far-0")


def keys_of(transport: Transport) -> PeerKeys | None:
    assert isinstance(transport, ZmqTransport)
    return transport.ports.keys


def test_people_are_told_the_address_of_the_control_channel():
    assert reach(Settings(broker="127.1.2.3", base_port=6000), ACTOR).address == "tcp://127.1.2.3:6000"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_on_loopback_the_clear_will_do(host):
    assert is_loopback(host)
    assert keys_of(reach(Settings(broker=host), ACTOR)) is None
    assert listen(Settings(bind=host))[1] is None


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "::", "*", "train1", "localhost.example", "1.2.3"])
def test_off_loopback_it_takes_keys_or_insecure_in_so_many_words(host):
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match="--broker .* --keys DIR .* --insecure"):
        reach(Settings(broker=host), ACTOR)
    with pytest.raises(SettingsError, match="--bind .* --keys DIR .* --insecure"):
        listen(Settings(bind=host))
    assert keys_of(reach(Settings(broker=host, insecure=True), ACTOR)) is None
    assert listen(Settings(bind=host, insecure=True))[1] is None


def test_given_keys_are_used_everywhere_insecure_or_not(tmp_path):
    directory = KeyDirectory(tmp_path)
    directory.init()
    directory.add(ACTOR)
    for settings in (Settings(keys=str(tmp_path)), Settings(keys=str(tmp_path), insecure=True)):
        assert keys_of(reach(settings, ACTOR)) == directory.peer(ACTOR)
        assert listen(settings)[1] is not None


def test_given_keys_that_are_not_there_are_an_error_and_never_the_clear(tmp_path):
    settings = Settings(keys=str(tmp_path), insecure=True)
    with pytest.raises(SettingsError, match="there is no such key"):
        reach(settings, ACTOR)
    with pytest.raises(SettingsError, match="there is no such key"):
        listen(settings)


def test_nats_without_its_extra_is_told_in_one_line():
    code = (
        "import sys; sys.modules['nats'] = None\n"
        "from common.security import reach_as_operator; from common.settings import Settings\n"
        "from common.errors import OperatorError\n"
        "try: reach_as_operator(Settings(transport='nats://127.0.0.1'))\n"
        "except OperatorError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "--transport nats://127.0.0.1: nats is not installed; pip install 'rookery[nats]'\n"


@pytest.mark.parametrize("transport", ["nats://", "zeromq", "http://train1", "nats://a:0", "nats://a,,b", ""])
def test_a_transport_that_is_none_is_refused(transport):
    with pytest.raises(SettingsError, match="--transport"):
        reach_as_operator(Settings(transport=transport))


def test_servers_off_loopback_take_keys_or_insecure_in_so_many_words():
    with pytest.raises(SettingsError, match="--transport train1 is not this machine alone: give --keys"):
        reach_as_operator(Settings(transport="nats://127.0.0.1,train1"))
    reach_as_operator(Settings(transport="nats://127.0.0.1,train1", insecure=True))
    assert reach_as_operator(Settings(transport="nats", base_port=5000)).address == "nats://127.0.0.1:5000"


def test_a_namespace_that_is_none_is_refused():
    with pytest.raises(SettingsError, match="--namespace 'A b'"):
        reach_as_operator(Settings(transport="nats://127.0.0.1", namespace="A b"))
