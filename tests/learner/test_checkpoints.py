import errno
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.files import write_synced
from common.run_files import MANIFEST_FILE
from learner.checkpoints import CheckpointDirectory
from learner.state import RandomState, TrainerState


def state(
    step: int, td_error: float | None = 0.5, validation_loss: float | None = None, validation_rows: int = 0
) -> TrainerState:
    generator = np.random.Generator(np.random.PCG64(step))
    generator.integers(0, 10, 3, dtype=np.uint32)
    return TrainerState(
        agent="white",
        network="mlp",
        step=step,
        version=step // 10,
        next_unit=step // 5,
        transitions=step * 8,
        td_error=td_error,
        validation_loss=validation_loss,
        validation_rows=validation_rows,
        random_state=RandomState.of(generator),
        arrays={
            "network": {"w": np.full((2, 3), step, np.float32), "keys": np.array([2**63], np.uint64)},
            "trained": {},
            "optimizer": {"step": np.array(step, np.float32), "none": np.zeros((0, 4), np.uint16)},
        },
    )


def assert_equal(found: TrainerState | None, expected: TrainerState) -> None:
    assert found is not None
    assert replace(found, arrays={}).__repr__() == replace(expected, arrays={}).__repr__()
    assert found.arrays.keys() == expected.arrays.keys()
    for group, arrays in expected.arrays.items():
        assert found.arrays[group].keys() == arrays.keys()
        for name, array in arrays.items():
            assert found.arrays[group][name].dtype == array.dtype
            assert found.arrays[group][name].shape == array.shape
            np.testing.assert_array_equal(found.arrays[group][name], array)


def names(path: Path) -> list[str]:
    return sorted(child.name for child in path.iterdir())


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path / "checkpoints", keep=3)
    assert checkpoints.load_newest() is None
    path = checkpoints.save(state(1234, validation_loss=1 / 3))
    assert path.name == "step-000001234-unit-000000246"
    assert_equal(checkpoints.load_newest(), state(1234, validation_loss=1 / 3))


def test_a_restored_generator_draws_what_the_saved_one_would_have_drawn() -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    generator.integers(0, 1000, 7, dtype=np.uint32)
    again = RandomState.of(generator).generator()
    np.testing.assert_array_equal(
        generator.integers(0, 1000, 99, dtype=np.uint32), again.integers(0, 1000, 99, dtype=np.uint32)
    )


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=2)
    errors = {10: None, 20: 0.5, 30: 0.1, 40: 0.3, 50: 0.2, 60: 0.4}
    for step, error in errors.items():
        checkpoints.save(state(step, error))
    assert [name[:14] for name in names(tmp_path)] == ["step-000000030", "step-000000050", "step-000000060"]


def test_the_best_is_the_best_on_held_out_games_where_there_are_any(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    figures = {10: (0.1, None), 20: (0.3, 5.0), 30: (0.4, 4.0), 40: (0.2, 4.5), 50: (0.1, 6.0)}
    for step, (error, loss) in figures.items():
        checkpoints.save(state(step, error, loss))
    assert [name[:14] for name in names(tmp_path)] == ["step-000000030", "step-000000050"]


def test_losses_on_more_held_out_rows_go_before_those_on_fewer(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    figures = {10: (2.0, 100), 20: (4.5, 4096), 30: (4.0, 4096), 40: (4.2, 4096)}
    for step, (loss, rows) in figures.items():
        checkpoints.save(state(step, 0.5, loss, rows))
    assert [name[:14] for name in names(tmp_path)] == ["step-000000030", "step-000000040"]


def test_about_as_many_held_out_rows_are_as_good_as_more(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    figures = {10: (2.0, 100), 20: (4.5, 1000), 30: (4.0, 910), 40: (4.2, 1005), 50: (3.0, 890)}
    for step, (loss, rows) in figures.items():
        checkpoints.save(state(step, 0.5, loss, rows))
    assert [name[:14] for name in names(tmp_path)] == ["step-000000030", "step-000000050"]


def test_a_manifest_of_before_rows_were_counted_is_read(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    manifest = checkpoints.save(state(10, validation_loss=4.0)) / MANIFEST_FILE
    old = json.loads(manifest.read_text())
    del old["validation_rows"]
    manifest.write_text(json.dumps(old, indent=2))
    assert_equal(checkpoints.load_newest(), state(10, validation_loss=4.0))


@pytest.mark.parametrize("file", ["network.safetensors", "optimizer.safetensors", MANIFEST_FILE])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, damage: str
) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=3)
    checkpoints.save(state(10))
    path = checkpoints.save(state(20)) / file
    content = path.read_bytes()
    if damage == "flip":
        at = content.index(b"transitions") + 16 if file == MANIFEST_FILE else len(content) - 1
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert_equal(checkpoints.load_newest(), state(10))
    assert [record.message for record in caplog.records] == ["checkpoint damaged"]


def test_a_damaged_checkpoint_is_replaced_when_training_comes_to_its_step_again(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=3)
    (checkpoints.save(state(10)) / MANIFEST_FILE).write_text("{}")
    checkpoints.save(state(10))
    assert_equal(checkpoints.load_newest(), state(10))


def test_saving_the_same_step_again_leaves_the_checkpoint_alone(tmp_path: Path) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=3)
    manifest = checkpoints.save(state(10)) / MANIFEST_FILE
    inode = manifest.stat().st_ino
    checkpoints.save(state(10))
    assert manifest.stat().st_ino == inode


def test_a_full_disk_leaves_the_last_checkpoint_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    checkpoints.save(state(10))
    before = names(tmp_path)

    def fail(path: Path, content: bytes) -> None:
        if path.name == MANIFEST_FILE:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_synced(path, content)

    monkeypatch.setattr("learner.checkpoints.write_synced", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(state(20))
    assert names(tmp_path) == before
    assert_equal(checkpoints.load_newest(), state(10))


def test_what_a_killed_learner_left_half_written_is_removed(tmp_path: Path) -> None:
    path = CheckpointDirectory(tmp_path, keep=1).save(state(10))
    shutil.copytree(path, tmp_path / f".writing-{path.name}")
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    assert names(tmp_path) == [path.name]
    assert_equal(checkpoints.load_newest(), state(10))


def test_every_file_is_synced_before_the_checkpoint_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    monkeypatch.setattr("os.fsync", lambda _: events.append("sync"))
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda *paths: (events.append("rename"), rename(*paths))[1])
    checkpoints.save(state(10))
    # three files, the manifest, the temporary directory; then the directory that holds the new name
    assert events == ["sync"] * 5 + ["rename", "sync"]


def test_the_manifest_can_be_read_by_a_person(tmp_path: Path) -> None:
    path = CheckpointDirectory(tmp_path, keep=1).save(state(10))
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    assert (manifest["step"], manifest["next_unit"], manifest["network"]) == (10, 2, "mlp")
    record = manifest["files"]["network.safetensors"]
    assert record["size_bytes"] == (path / "network.safetensors").stat().st_size
    assert len(record["sha256"]) == 64
