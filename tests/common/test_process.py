from collections.abc import Callable

import pytest

from common.errors import SettingsError
from common.links import Transport
from common.notify import Notifier
from common.process import Process, check_name
from common.reload import Reload
from common.settings import Settings


class Flag:
    """A signal's flag without the signal."""

    def __init__(self) -> None:
        self.value = False

    def __bool__(self) -> bool:
        return self.value

    def set(self) -> None:
        self.value = True

    def clear(self) -> None:
        self.value = False


class Heard(Notifier):
    """What systemd would hear."""

    def __init__(self) -> None:
        super().__init__(None)
        self.said: list[str] = []

    def turn(self, status: Callable[[], str]) -> None:
        self.said.append(status())

    def _send(self, message: str) -> None:
        self.said.append(message.partition("\n")[0])


@pytest.fixture
def process(transport: Transport) -> Process:
    reload = Reload(Settings(), Settings, Flag())
    return Process("actor-0", "5e55", transport, Flag(), Heard(), reload)


def test_a_turn_feeds_the_watchdog_and_shows_the_status(process: Process) -> None:
    process.turn(lambda: "3 units")
    assert process.notifier.said == ["3 units"]


def test_the_first_turn_after_the_stop_signal_says_so(process: Process) -> None:
    process.stopping.set()
    process.turn(lambda: "draining")
    process.turn(lambda: "draining")
    assert process.notifier.said == ["draining", "STOPPING=1", "draining"]


def test_a_reload_happens_between_two_turns_and_the_service_is_ready_again(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.reload._signal, "value", True)
    process.turn(lambda: "fine")
    process.turn(lambda: "fine")
    assert process.notifier.said == ["fine", "RELOADING=1", "READY=1", "fine"]


@pytest.mark.parametrize("name", ["actor-0", "learner-white", "host.example-4711", "a@b", "x" * 100])
def test_a_name_that_goes_by_the_wire_and_into_file_names_is_taken(name):
    check_name(name)


@pytest.mark.parametrize("name", ["", "my actor", "a/b", "..", ".hidden", "ä", "x" * 101, "a\n"])
def test_any_other_name_is_refused_with_one_line(name):
    with pytest.raises(SettingsError, match=r"^--name .*: up to 100 letters"):
        check_name(name)
