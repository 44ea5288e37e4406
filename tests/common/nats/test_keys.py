import stat

import pytest

from common.errors import SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.nats.fleet_config import Fleet
from common.nats.keys import NatsKeys, public_nkey
from common.nats.login import NatsLogin
from common.nats.names import NatsNames

FAR = KeyHolder(Role.ACTOR, "far-0")
WHITE = KeyHolder(Role.LEARNER, "white")
FLEET = Fleet.parse(["train1"])


@pytest.fixture
def keys(tmp_path) -> NatsKeys:
    directory = NatsKeys(tmp_path / "keys")
    directory.init(FLEET, NatsNames("run1"))
    return directory


def test_secrets_are_their_owners_alone(keys):
    keys.add(FAR)
    secrets = sorted((*keys.path.rglob("*.nk"), *keys.path.rglob("*-key.pem")))
    assert [path.name for path in secrets] == ["far-0.nk", "broker.nk", "ca-key.pem", "server-key.pem"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (keys.path, keys.path.parent)} == {0o700}


def test_what_was_added_has_a_seed_and_is_among_the_users(keys):
    keys.add(FAR)
    keys.add(WHITE)
    assert [holder for holder, _ in keys.allowed()] == [FAR, WHITE]
    assert keys.holders() == [FAR, WHITE, BROKER]
    users = keys.users_file.read_text()
    publics = [public_nkey(keys.public_file(holder)) for holder in (BROKER, FAR, WHITE)]
    assert [users.count(public) for public in publics] == [1, 1, 1]
    assert "run1.control.actor.far-0" in users
    seed = (keys.path / "actors" / "far-0.nk").read_text().strip()
    assert seed.startswith("SU")
    assert seed not in users
    assert NatsLogin.of(keys.path.parent, FAR).options()["nkeys_seed"].endswith("nats/actors/far-0.nk")


def test_a_revoked_key_is_kept_and_its_name_can_have_another(keys):
    keys.add(FAR)
    first = public_nkey(keys.public_file(FAR))
    assert keys.revoke(FAR).read_text().strip() == first
    assert list(keys.allowed()) == []
    assert not keys.has_secret(FAR)
    assert first not in keys.users_file.read_text()
    keys.add(FAR)
    assert public_nkey(keys.public_file(FAR)) != first
    keys.revoke(FAR)
    assert [path.name for path in keys.revoked()] == ["far-0.pub", "far-0.pub.1"]


def test_a_pair_that_was_half_made_can_be_revoked_and_made_again(keys):
    keys.add(FAR)
    keys.public_file(FAR).unlink()
    with pytest.raises(SettingsError, match="revoke that key first"):
        keys.add(FAR)
    keys.revoke(FAR)
    keys.add(FAR)


def test_nothing_is_overwritten(keys):
    keys.add(FAR)
    before = {path: path.read_bytes() for path in keys.path.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match="revoke that key first"):
        keys.add(FAR)
    with pytest.raises(SettingsError, match="is there already"):
        keys.init(FLEET, NatsNames())
    assert {path: path.read_bytes() for path in keys.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../broker", "a/b", ".hidden", "", "x" * 101, "new\nline", "a*", "a>b", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(keys, name):
    with pytest.raises(SettingsError, match="is no name"):
        keys.add(KeyHolder(Role.ACTOR, name))


def test_what_is_missing_is_named(tmp_path, keys):
    with pytest.raises(SettingsError, match="rookery keys init --nats"):
        NatsKeys(tmp_path / "other").add(FAR)
    keys.add(FAR)
    with pytest.raises(SettingsError, match=r"actor far-9 has no key in .*; there are: far-0"):
        keys.revoke(KeyHolder(Role.ACTOR, "far-9"))
    with pytest.raises(SettingsError, match=r"broker has no key in"):
        keys.revoke(BROKER)


@pytest.mark.parametrize("odd", [b"", b"\xff", b"UABC", b"A" * 56, b"U" + b"A" * 55])
def test_a_file_without_a_key_lets_nobody_in_and_does_not_stop_the_others(keys, odd):
    keys.add(FAR)
    keys.public_file(FAR).write_bytes(odd)
    with pytest.raises(SettingsError, match=r"far-0\.pub: no public key of an nkey"):
        public_nkey(keys.public_file(FAR))
    keys.add(WHITE)
    assert keys.users_file.read_text().count("nkey:") == 2
    keys.revoke(WHITE)
    assert keys.users_file.read_text().count("nkey:") == 1


def test_a_seed_that_others_may_read_is_told(keys):
    keys.add(FAR)
    keys.check_secret(FAR)
    (keys.path / "actors" / "far-0.nk").chmod(0o640)
    with pytest.raises(SettingsError, match="others may read it; type: chmod 600"):
        keys.check_secret(FAR)


def test_an_authority_that_is_none_is_one_clear_line(keys):
    (keys.path / "ca-key.pem").write_text("no key")
    with pytest.raises(SettingsError, match="no authority's certificate and key"):
        keys.certify(FLEET)


@pytest.mark.parametrize("host", ["", "a b", "train1,", 'a"b', "-x", "a\nb", "a/b"])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(SettingsError, match="is no name or address of a host"):
        Fleet.parse([host])


def test_servers_are_named_once_and_reached_at_their_first_names():
    fleet = Fleet.parse(["train1,10.0.0.1", "train2", "fe80::3"], port=4300)
    assert fleet.transport == "tls://train1:4300,train2:4300,[fe80::3]:4300"
    assert fleet.hosts == ["train1", "10.0.0.1", "train2", "fe80::3", "localhost", "127.0.0.1", "::1"]
    with pytest.raises(SettingsError, match="once for each server"):
        Fleet.parse(["train1", "train1,10.0.0.1"])
