import pytest

from common.errors import SettingsError
from common.process import check_name


@pytest.mark.parametrize("name", ["actor-0", "learner-white", "host.example-4711", "a@b", "x" * 100])
def test_a_name_that_goes_by_the_wire_and_into_file_names_is_taken(name):
    check_name(name)


@pytest.mark.parametrize("name", ["", "my actor", "a/b", "..", ".hidden", "ä", "x" * 101, "a\n"])
def test_any_other_name_is_refused_with_one_line(name):
    with pytest.raises(SettingsError, match=r"^--name .*: up to 100 letters"):
        check_name(name)
