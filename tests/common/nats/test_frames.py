import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import MessageError
from common.nats.frames import pack, pack_said, unpack, unpack_said


@given(st.text("0123456789abcdef", min_size=1, max_size=128), st.binary(max_size=300))
def test_what_is_said_comes_back(session, envelope):
    assert unpack_said(pack_said(session, envelope)) == (session, envelope)


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=300))
def test_an_envelope_and_its_body_come_back(envelope, body):
    assert unpack(pack(envelope, body)) == (envelope, body)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload):
    for read in (unpack, unpack_said):
        try:
            read(payload)
        except MessageError:
            pass


@pytest.mark.parametrize(
    "payload", [b"", b"\x00", b"\x00\x00", b"\x00\x05abc", b"\x01\x00" + b"a" * 300, b"\x00\x01\xff"]
)
def test_what_has_no_session_is_refused(payload):
    with pytest.raises(MessageError):
        unpack_said(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\x00\x00\x00", b"\x00\x00\x00\x00", b"\x00\x00\x00\x05abcd", b"\xff" * 40]
)
def test_what_has_no_envelope_is_refused(payload):
    with pytest.raises(MessageError):
        unpack(payload)
