from collections.abc import Callable
from pathlib import Path

from common.links import Transport
from common.notify import Notifier
from common.process import Process
from common.reload import Reload
from common.settings import DEFAULT_AGENTS, Settings
from learner.service import LearnerService


class Never:
    """A signal that does not come."""

    def __bool__(self) -> bool:
        return False


class Turns(Notifier):
    """Counts the turns of which the watchdog would hear."""

    def __init__(self) -> None:
        super().__init__(None)
        self.count = 0

    def turn(self, status: Callable[[], str]) -> None:
        assert status()
        self.count += 1


def test_a_learner_whose_intake_hangs_does_not_look_alive(tmp_path: Path, transport: Transport) -> None:
    settings = Settings(run=str(tmp_path))
    turns = Turns()
    process = Process("learner-white", "5e55", transport, Never(), turns, Reload(settings, Settings, Never()))
    service = LearnerService(settings, DEFAULT_AGENTS[0], process)
    for _ in range(3):
        service._note_turn()
    assert turns.count == 0
    service._intake.turns += 1
    for _ in range(3):
        service._note_turn()
    assert turns.count == 1
