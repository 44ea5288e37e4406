import msgspec
import pytest

from arena.options_text import near, read_options, split_options
from common.errors import SettingsError


class Some(msgspec.Struct, kw_only=True):
    nodes: int = 1
    share: float | None = None


def test_options_are_read_by_their_types_and_the_rest_is_as_it_was() -> None:
    assert read_options("nodes=3, share=0.5", Some, "x") == Some(nodes=3, share=0.5)
    assert read_options("", Some, "x") == Some()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nodes", "x: 'nodes' is not NAME=VALUE"),
        ("nodes=", "is not NAME=VALUE"),
        ("nodes=1,nodes=2", "nodes is given twice"),
        ("node=1", "no option 'node'; did you mean nodes?"),
        ("colour=1", "no option 'colour': there are nodes, share"),
        ("nodes=many", "x: nodes: Expected `int`"),
    ],
)
def test_what_is_no_option_is_one_line(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_options(text, Some, "x")
    assert reason in str(caught.value)


def test_a_value_may_hold_an_equals_sign() -> None:
    assert split_options("a=b=c", "x") == {"a": "b=c"}


def test_near_names_what_is_meant() -> None:
    assert near("radnom", ["random", "material"]) == "; did you mean random?"
