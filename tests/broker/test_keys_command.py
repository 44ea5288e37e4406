from pathlib import Path

import pytest

from tests.deploy.runs import Ended, Started


def keys(directory: Path, *words: str) -> Ended:
    with Started(("rookery", "keys", *words, "--keys", str(directory))) as command:
        return command.end()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "keys"
    assert keys(found, "init").code == 0
    return found


def test_keys_are_made_listed_and_revoked(directory: Path) -> None:
    made = keys(directory, "add", "actor", "far-0", "far-1")
    assert made.code == 0
    assert "actor far-0: allowed. Its host needs broker.key and actors/far-0.key_secret" in made.out
    assert keys(directory, "add", "learner", "white").code == 0
    gone = keys(directory, "revoke", "actor", "far-1")
    assert gone.out == f"actor far-1: revoked; the public key is kept in {directory}/revoked/actors/far-1.key\n"
    rows = [line.split() for line in keys(directory, "list").out.splitlines()]
    assert [row[:2] for row in rows[1:]] == [["actor", "far-0"], ["learner", "white"], ["actor", "far-1"]]
    assert rows[0][0] == "broker"
    assert len(rows[1][2]) == 40
    assert rows[-1][2] == "revoked"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("init",), "is there already"),
        (("add", "actor", "../x"), "is no name"),
        (("add", "king", "x"), "'king' is not one of"),
        (("revoke", "actor", "nobody"), "actor nobody has no key in"),
        (("add", "actor"), "Missing argument 'NAME...'"),
    ],
)
def test_what_can_not_be_done_is_one_line(directory: Path, words: tuple[str, ...], said: str) -> None:
    ended = keys(directory, *words)
    assert ended.code == 2
    assert said in ended.line


def test_a_directory_that_was_not_made_is_one_line(tmp_path: Path) -> None:
    for words in (("list",), ("add", "actor", "a"), ("revoke", "actor", "a")):
        ended = keys(tmp_path / "none", *words)
        assert ended.code == 2
        assert ended.line
