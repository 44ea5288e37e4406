"""What the broker does before it routes."""

import resource

import pytest

from broker.service import raise_file_limit


@pytest.fixture
def limits(monkeypatch) -> dict[str, tuple[int, int]]:
    limits = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.update(now=pair))
    return limits


def test_the_broker_may_open_as_many_files_as_the_system_lets_it(limits):
    assert raise_file_limit() == 4096
    assert limits["now"] == (4096, 4096)
    assert raise_file_limit() == 4096


def test_a_limit_that_can_not_be_raised_stays_and_is_told(limits, monkeypatch, caplog):
    def refuse(kind: int, pair: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_file_limit() == 1024
    assert [record.getMessage() for record in caplog.records] == ["file limit not raised"]
