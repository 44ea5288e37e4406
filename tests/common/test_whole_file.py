from pathlib import Path

import pytest

from common.errors import SettingsError
from common.whole_file import explained, whole_file


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "list"
    with whole_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"old")

    def begin_and_fail() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin_and_fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_system_s_errors_are_one_line_with_the_file_s_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="list: can't be written: No such file"):
        whole_file(tmp_path / "nowhere" / "list").__enter__()
    with pytest.raises(SettingsError, match="can't be written: Is a directory"), whole_file(tmp_path):
        pass
    with pytest.raises(SettingsError, match="x: can't be written: full"), explained(Path("x")):
        raise OSError(28, "full")
