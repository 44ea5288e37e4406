import subprocess
import sys
from pathlib import Path

import pytest

from common.nats.server import server_version
from common.nats.survey import SYNCS_FROM, version_of
from tests.broker.test_keys_command import keys
from tests.common.nats.guarded import understood


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "keys"
    made = keys(found, "init", "--nats", "--host", "train1,10.0.0.1", "--namespace", "run1", "--port", "4300")
    assert made.code == 0, made.err
    assert "transport tls://train1:4300" in made.out
    assert f"nats-server -c {found}/nats/nats-server.conf\n" in made.out
    return found


def test_keys_are_made_listed_and_revoked(directory: Path) -> None:
    made = keys(directory, "add", "actor", "far-0", "far-1", "--nats")
    assert made.code == 0
    assert "actor far-0: allowed. Its host needs nats/ca.pem and nats/actors/far-0.nk" in made.out
    assert "reload it: nats-server --signal reload" in made.out
    gone = keys(directory, "revoke", "actor", "far-1", "--nats")
    assert (
        f"actor far-1: revoked; the public key is kept in {directory}/nats/revoked/actors/far-1.pub\n" in gone.out
    )
    rows = [line.split() for line in keys(directory, "list", "--nats").out.splitlines()]
    assert [row[:2] for row in rows[1:]] == [["actor", "far-0"], ["actor", "far-1"]]
    assert rows[0][0] == "broker"
    assert (len(rows[1][2]), rows[1][2][0]) == (56, "U")
    assert rows[-1][2] == "revoked"
    users = (directory / "nats" / "users.conf").read_text()
    assert rows[1][2] in users
    assert "run1.control.actor.far-0" in users
    assert "far-1" not in users


def test_both_kinds_of_keys_share_a_directory(directory: Path) -> None:
    assert keys(directory, "init").code == 0
    assert keys(directory, "add", "actor", "far-0").code == 0
    assert len(keys(directory, "list").out.splitlines()) == 2
    assert len(keys(directory, "list", "--nats").out.splitlines()) == 1


def test_a_server_takes_the_configuration_alone_and_in_a_cluster(tmp_path: Path, nats_server_binary: str) -> None:
    for hosts in (["train1"], ["train1", "train2,10.0.0.2", "train3"], ["fe80::1"]):
        directory = tmp_path / hosts[0].replace(":", "") / str(len(hosts))
        hosts_ = [word for host in hosts for word in ("--host", host)]
        made = keys(directory, "init", "--nats", *hosts_, "--store", str(tmp_path / "a store"))
        assert made.code == 0, made.err
        assert ("--name NAME" in made.out) == (len(hosts) > 1)
        configuration = directory / "nats" / "nats-server.conf"
        configuration.write_text(understood(configuration.read_text()))
        checked = subprocess.run(
            [nats_server_binary, "-t", "-c", str(configuration), "--name", "x"], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr
        assert ("cluster {" in configuration.read_text()) == (len(hosts) > 1)


def test_a_server_here_that_is_too_old_to_sync_is_told_of(tmp_path: Path, nats_server_binary: str) -> None:
    made = keys(tmp_path / "keys", "init", "--nats")
    old = version_of(server_version(nats_server_binary)) < SYNCS_FROM
    assert ("Install 2.10 or later" in made.err) == old
    assert made.code == 0


def test_a_new_certificate_is_for_the_hosts_that_are_named(directory: Path) -> None:
    before = (directory / "nats" / "server.pem").read_bytes()
    made = keys(directory, "certify", "--host", "train1", "--host", "train2")
    assert made.code == 0
    assert "are for train1, train2, localhost, 127.0.0.1, ::1 now" in made.out
    assert (directory / "nats" / "server.pem").read_bytes() != before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("init", "--nats"), "is there already"),
        (("init", "--nats", "--namespace", "A B"), "--namespace 'A B'"),
        (("init", "--nats", "--host", "a b"), "is no name or address of a host"),
        (("init", "--host", "train1"), "give --nats, too"),
        (("add", "actor", "../x", "--nats"), "is no name"),
        (("add", "king", "x", "--nats"), "'king' is not one of"),
        (("revoke", "actor", "nobody", "--nats"), "actor nobody has no key in"),
        (("certify", "--host", "a b"), "is no name or address of a host"),
    ],
)
def test_what_can_not_be_done_is_one_line(directory: Path, words: tuple[str, ...], said: str) -> None:
    ended = keys(directory, *words)
    assert ended.code == 2
    assert said in ended.line


def test_a_directory_that_was_not_made_is_one_line(tmp_path: Path) -> None:
    for words in (
        ("list", "--nats"), ("add", "actor", "a", "--nats"), ("revoke", "actor", "a", "--nats"), ("certify",)
    ):  # fmt: skip
        ended = keys(tmp_path / "none", *words)
        assert ended.code == 2
        assert ended.line


def test_without_the_extra_it_is_said_which(tmp_path: Path) -> None:
    arguments = ["rookery", "keys", "init", "--nats", "--keys", str(tmp_path / "keys")]
    code = (
        f"import sys; sys.modules['cryptography'] = None; sys.argv = {arguments}; "
        "from common.command import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "rookery: --nats: cryptography is not installed; pip install 'rookery[nats]'\n"
