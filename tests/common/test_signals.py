import signal

import pytest

from common import signals
from common.signals import ONE_REQUEST_S, StopSignal


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Exit codes with which the process would have ended."""
    codes: list[int] = []
    monkeypatch.setattr(signals.os, "_exit", codes.append)
    return codes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be changed in place."""
    now_s = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now_s[0])
    return now_s


@pytest.fixture(autouse=True)
def _handlers_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_drain(ends: list[int], number: signal.Signals) -> None:
    stopping = StopSignal()
    assert not stopping
    signal.raise_signal(number)
    assert stopping
    assert ends == []


def test_the_second_one_ends_the_process(ends: list[int], clock: list[float]) -> None:
    StopSignal()
    signal.raise_signal(signal.SIGINT)
    clock[0] += ONE_REQUEST_S + 0.1
    signal.raise_signal(signal.SIGINT)
    assert ends == [130]


def test_one_request_told_twice_is_one(ends: list[int], clock: list[float]) -> None:
    StopSignal()
    for _ in range(5):
        signal.raise_signal(signal.SIGTERM)
        clock[0] += ONE_REQUEST_S / 5
    assert ends == []


def test_a_signal_after_an_order_to_drain_is_the_first(ends: list[int], clock: list[float]) -> None:
    stopping = StopSignal()
    stopping.set()
    clock[0] += 60.0
    signal.raise_signal(signal.SIGTERM)
    assert stopping
    assert ends == []
