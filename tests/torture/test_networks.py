"""Whatever the network does, the run ends with every unit stored once and the weights that it would have had."""

from pathlib import Path

import pytest

from tests.torture import networks
from tests.torture.outcome import Setting

pytestmark = pytest.mark.long


def test_a_run_survives_loss_delay_reordering_resets_a_cut_and_another_broker(
    tmp_path: Path, base_port: int, stockfish: str
) -> None:
    setting = Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print)
    (outcome,) = networks.run(setting)
    assert outcome.failures == []
    assert outcome.passed
    assert outcome.expected == outcome.stored == 24
    assert outcome.weights_identical
    assert outcome.faults >= 3
    assert len(outcome.recovery_s) == 3
