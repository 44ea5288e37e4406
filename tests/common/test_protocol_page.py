"""docs/protocol.md and the types hold together: every kind, every field, every example."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from common import messages, wire
from common.messages import PROTOCOL_VERSION, Message

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
KINDS = {
    kind.__struct_config__.tag: kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
}


def paths(value: object) -> set[str]:
    """Return the names of all fields in a message's plain values."""
    if isinstance(value, dict):
        return set(value).union(*map(paths, value.values()))
    return set().union(*map(paths, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["kind"])
def test_each_example_is_a_message_and_shows_every_field(example: dict[str, object]) -> None:
    kind = KINDS[example["kind"]]
    frame = wire.pack(example)
    message = wire.decode(frame, kind)
    assert json.loads(msgspec.json.encode(message)) == {k: v for k, v in example.items() if k != "v"}
    assert paths(example) >= {field.encode_name for field in msgspec.structs.fields(kind)}


def test_every_kind_of_message_has_an_example() -> None:
    assert {example["kind"] for example in EXAMPLES} == set(KINDS)


def test_the_page_is_about_our_version() -> None:
    assert PAGE.startswith(f"# The protocol, version {PROTOCOL_VERSION}\n")
    assert {example["v"] for example in EXAMPLES} == {PROTOCOL_VERSION}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_has_its_section_under_its_name(kind: str) -> None:
    assert f"### `{kind}`\n" in PAGE
