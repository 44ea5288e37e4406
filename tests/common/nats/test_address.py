import pytest

from common.errors import SettingsError
from common.nats.address import NatsAddress


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("nats://host:4223", ["nats://host:4223"]),
        ("nats://host", ["nats://host:4222"]),
        ("tls://a.example:1,b.example", ["tls://a.example:1", "tls://b.example:4222"]),
        ("nats://127.0.0.1:1, 127.0.0.2:2", ["nats://127.0.0.1:1", "nats://127.0.0.2:2"]),
        ("nats://[::1]:4222", ["nats://[::1]:4222"]),
    ],
)
def test_an_address_names_servers(text, urls):
    assert NatsAddress.parse(text).urls == urls


def test_an_address_is_told_as_it_is_given():
    text = "tls://a:4222,b:4223"
    assert str(NatsAddress.parse(text)) == text
    assert NatsAddress.parse(text).tls
    assert NatsAddress.parse("nats://[::1]").hosts == ["::1"]


@pytest.mark.parametrize(
    "text",
    ["", "nats", "nats://", "zmq", "http://host", "nats://host:0", "nats://host:65536", "nats://a,,b", "nats://a b",
     "nats://user:pass@host", "nats://host:x", "nats://host/", "nats://-a", "nats://host:4222\n"],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_one_line(text):
    with pytest.raises(SettingsError, match="--transport") as caught:
        NatsAddress.parse(text)
    assert "\n" not in str(caught.value)
