from pathlib import Path

import numpy as np
import pytest

from common.run_files import MANIFEST_FILE
from deploy.report import read_report
from learner.checkpoints import CheckpointDirectory
from learner.state import RandomState, TrainerState


def state(step: int) -> TrainerState:
    return TrainerState(
        agent="white", network="mlp", step=step, version=1, next_unit=step, transitions=5, td_error=0.5,
        validation_loss=None, random_state=RandomState.of(np.random.default_rng(1)),
        arrays={"network": {"w": np.zeros(3, np.float32)}},
    )  # fmt: skip


@pytest.mark.parametrize("where", [b'"mlp"', b'"white"', b'"network"'])
def test_a_manifest_that_is_not_utf_8_any_more_is_passed_over(tmp_path: Path, where: bytes) -> None:
    checkpoints = CheckpointDirectory(tmp_path, 3)
    checkpoints.save(state(1))
    newest = checkpoints.save(state(2))
    path = newest / MANIFEST_FILE
    content = path.read_bytes()
    at = content.index(where) + 1
    path.write_bytes(content[:at] + bytes([content[at] | 0x80]) + content[at + 1 :])
    loaded = checkpoints.load_newest()
    assert loaded is not None
    assert loaded.step == 1


def test_a_report_that_is_not_utf_8_is_none(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(b'{"agents": [{"name": "\xff"}]}')
    assert read_report(tmp_path / "report.json") is None
