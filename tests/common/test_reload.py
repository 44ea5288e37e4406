import logging
import signal
from collections.abc import Callable, Iterator

import pytest

from common.errors import SettingsError
from common.reload import Reload
from common.settings import Settings
from common.signals import ReloadSignal


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handler, level = signal.getsignal(signal.SIGHUP), logging.getLogger().level
    yield
    signal.signal(signal.SIGHUP, handler)
    logging.getLogger().setLevel(level)


def reload(reread: Callable[[], Settings]) -> Reload:
    return Reload(Settings(), reread, ReloadSignal())


def test_nothing_is_asked_until_a_hangup_asks_once() -> None:
    made = reload(Settings)
    assert not made.asked
    signal.raise_signal(signal.SIGHUP)
    assert made.asked
    made.apply()
    assert not made.asked


def test_the_log_level_changes_at_once_and_other_changes_are_named(caplog: pytest.LogCaptureFixture) -> None:
    reload(lambda: Settings(log_level="debug", nodes=7, batch_size=3)).apply()
    assert logging.getLogger().level == logging.DEBUG
    (record,) = caplog.records
    assert record.getMessage() == "settings read again"
    assert record.__dict__["log_level"] == "debug"
    assert record.__dict__["takes_a_new_start"] == "batch_size, nodes"


@pytest.mark.parametrize("level", ["warning", "error"])
def test_it_is_told_whatever_the_level_is(caplog: pytest.LogCaptureFixture, level: str) -> None:
    reload(lambda: Settings(log_level=level)).apply()
    assert [record.getMessage() for record in caplog.records] == ["settings read again"]


def test_settings_that_are_broken_are_one_error_and_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Settings:
        raise SettingsError("rookery.toml: unknown setting nods")

    before = logging.getLogger().level
    made = reload(broken)
    made.call(lambda settings: pytest.fail("called"))
    made.apply()
    (record,) = caplog.records
    assert (record.levelname, record.__dict__["reason"]) == ("ERROR", "rookery.toml: unknown setting nods")
    assert logging.getLogger().level == before


def test_callbacks_get_the_new_settings() -> None:
    got: list[Settings] = []
    made = reload(lambda: Settings(seed=4))
    made.call(got.append)
    made.apply()
    assert [settings.seed for settings in got] == [4]


def test_a_callback_that_refuses_is_one_error_and_the_level_stays(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(settings: Settings) -> None:
        raise SettingsError("keys/allow: can't be read")

    before = logging.getLogger().level
    made = reload(lambda: Settings(log_level="debug"))
    made.call(refuse)
    made.apply()
    assert [record.__dict__["reason"] for record in caplog.records] == ["keys/allow: can't be read"]
    assert logging.getLogger().level == before
