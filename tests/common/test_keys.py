import stat

import pytest

from common.errors import SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.zmq.keys import KeyDirectory

FAR = KeyHolder(Role.ACTOR, "far-0")
WHITE = KeyHolder(Role.LEARNER, "white")


@pytest.fixture
def keys(tmp_path) -> KeyDirectory:
    directory = KeyDirectory(tmp_path / "keys")
    directory.init()
    return directory


def test_secret_keys_are_their_owners_alone(keys):
    keys.add(FAR)
    secrets = sorted(keys.path.rglob("*.key_secret"))
    assert [path.name for path in secrets] == ["far-0.key_secret", "broker.key_secret"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o700
    assert b"secret" not in (keys.path / "allow" / "actors" / "far-0.key").read_bytes().lower()


def test_what_was_added_can_connect_and_is_allowed(keys):
    keys.add(FAR)
    keys.add(WHITE)
    assert [holder for holder, _ in keys.allowed()] == [FAR, WHITE]
    peer = keys.peer(FAR)
    assert peer.broker_public == keys.broker_public()
    assert len({peer.public, peer.secret, peer.broker_public, keys.broker().secret}) == 4
    assert peer.secret.decode() not in repr(peer)
    assert keys.broker().secret.decode() not in repr(keys.broker())


def test_a_learner_goes_by_its_agent_and_others_by_their_name():
    assert (WHITE.service, FAR.service, BROKER.service) == ("learner-white", "far-0", "broker")


def test_a_revoked_key_is_kept_and_its_name_can_have_another(keys):
    keys.add(FAR)
    first = keys.peer(FAR)
    keys.revoke(FAR)
    assert list(keys.allowed()) == []
    with pytest.raises(SettingsError, match="far-0.key_secret: there is no such key"):
        keys.peer(FAR)
    keys.add(FAR)
    assert keys.peer(FAR).public != first.public
    keys.revoke(FAR)
    assert [path.name for path in keys.revoked()] == ["far-0.key", "far-0.key.1"]


@pytest.mark.parametrize("name", ["../broker", "a/b", ".hidden", "", "x" * 101, "new\nline"])
def test_a_name_that_leads_elsewhere_is_refused(keys, name):
    with pytest.raises(SettingsError, match="is no name"):
        keys.add(KeyHolder(Role.ACTOR, name))


def test_nothing_is_overwritten(keys):
    keys.add(FAR)
    with pytest.raises(SettingsError, match="revoke that key first"):
        keys.add(FAR)
    with pytest.raises(SettingsError, match="is there already"):
        keys.init()


def test_what_is_missing_is_named(tmp_path, keys):
    with pytest.raises(SettingsError, match="rookery keys init"):
        KeyDirectory(tmp_path / "other").add(FAR)
    with pytest.raises(SettingsError, match=r"broker\.key: there is no such key; copy the broker's"):
        KeyDirectory(tmp_path / "other").peer(FAR)
    keys.add(FAR)
    with pytest.raises(SettingsError, match=r"\(here are: far-0\)"):
        keys.peer(KeyHolder(Role.ACTOR, "far-9"))
    with pytest.raises(SettingsError, match=r"actor far-9 has no key in .*; there are: far-0"):
        keys.revoke(KeyHolder(Role.ACTOR, "far-9"))


def test_a_secret_that_others_may_read_is_refused(keys):
    keys.add(FAR)
    (keys.path / "actors" / "far-0.key_secret").chmod(0o640)
    with pytest.raises(SettingsError, match="others may read it; type: chmod 600"):
        keys.peer(FAR)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b'public-key = "short"', b"public-key", b'public-key = "' + b"~" * 40 + b'"']
)
def test_a_file_without_a_key_is_one_clear_line(keys, content):
    keys.add(FAR)
    (keys.path / "broker.key").write_bytes(content)
    with pytest.raises(SettingsError, match=r"broker\.key: no key in it"):
        keys.peer(FAR)


def test_a_pair_that_was_half_made_can_be_revoked_and_made_again(keys):
    keys.add(FAR)
    (keys.path / "allow" / "actors" / "far-0.key").unlink()
    with pytest.raises(SettingsError, match="revoke that key first"):
        keys.add(FAR)
    keys.revoke(FAR)
    keys.add(FAR)


def test_keys_that_one_may_not_read_are_one_clear_line(keys, monkeypatch):
    keys.add(FAR)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", denied)
    with pytest.raises(SettingsError, match="can't be read: Permission denied; keys are for their owner alone"):
        list(keys.allowed())
    monkeypatch.setattr("pathlib.Path.lstat", denied)
    with pytest.raises(SettingsError, match="can't be read: Permission denied"):
        keys.has_secret(FAR)
