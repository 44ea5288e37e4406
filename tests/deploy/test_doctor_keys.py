import socket
from pathlib import Path

from common.keys import KeyHolder
from common.messages import Role
from common.settings import Settings
from common.zmq.keys import KeyDirectory
from deploy.doctor_broker import check_broker
from deploy.doctor_keys import check_keys
from deploy.finding import Finding, Verdict


def finding(**values: object) -> Finding:
    (found,) = check_keys(Settings(**values))
    return found


def test_on_loopback_no_keys_are_needed() -> None:
    assert finding().verdict is Verdict.OK


def test_off_loopback_it_takes_keys_or_a_warning() -> None:
    assert finding(bind="0.0.0.0").verdict is Verdict.FAIL
    assert "--bind 0.0.0.0 needs keys" in finding(bind="0.0.0.0").summary
    assert finding(broker="train1", insecure=True).verdict is Verdict.WARN


def test_whose_keys_this_host_has_is_told(tmp_path: Path) -> None:
    keys = KeyDirectory(tmp_path)
    assert finding(keys=str(tmp_path)).verdict is Verdict.FAIL
    keys.init()
    keys.add(KeyHolder(Role.ACTOR, "far-0"))
    found = finding(keys=str(tmp_path), broker="train1")
    assert (found.verdict, found.summary) == (Verdict.OK, "this host has the keys of actor far-0, broker")
    (tmp_path / "actors" / "far-0.key_secret").chmod(0o644)
    assert "others may read it" in finding(keys=str(tmp_path)).summary


def test_a_host_without_an_operators_key_is_told_of_the_ports_all_the_same(tmp_path: Path, base_port: int) -> None:
    keys = KeyDirectory(tmp_path)
    keys.init()
    with socket.socket() as other:
        other.bind(("127.0.0.1", base_port))
        other.listen()
        (found,) = check_broker(Settings(keys=str(tmp_path), base_port=base_port))
    assert found.verdict is Verdict.WARN
    assert "it was not asked" in found.summary
