import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from click.testing import CliRunner, Result

import arena.export_weights_command
from agent.networks import BINS, Mlp
from agent.onnx_export import Answers, metadata_of
from agent.weights import load_weights, save_weights
from arena.export_weights_command import export_weights, positions
from common.errors import RookeryError, SettingsError, StoreError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.set_num_threads(1)  # the machine may be busy
    network = Mlp()
    generator = torch.Generator().manual_seed(1)
    arrays = {
        name: (torch.randn(tensor.shape, generator=generator) * 0.1).numpy()
        for name, tensor in network.state_dict().items()
    }
    path = tmp_path / "weights.safetensors"
    save_weights(path, arrays, {"agent": "white", "network": "mlp", "version": 3, "step": 200})
    return path


def command(*arguments: object) -> Result:
    ran = CliRunner().invoke(export_weights, [str(argument) for argument in arguments])
    if isinstance(ran.exception, RookeryError):
        raise ran.exception
    return ran


def test_safetensors_hold_the_same_arrays_and_say_what_they_are(weights: Path, tmp_path: Path) -> None:
    to = tmp_path / "mine.safetensors"
    ran = command(weights, "--to", to, "--check")
    assert ran.exit_code == 0, ran.output
    assert "within 0.0e+00" in ran.output
    theirs, about = load_weights(to)
    mine, _ = load_weights(weights)
    assert theirs.keys() == mine.keys()
    assert all(np.array_equal(theirs[name], mine[name]) for name in mine)
    assert (about["agent"], about["network"], about["step"]) == ("white", "mlp", 200)
    assert json.loads(safetensors.safe_open(to, "numpy").metadata()["rookery"]) == about


def test_onnx_is_checked_against_the_network(weights: Path, tmp_path: Path) -> None:
    to = tmp_path / "mine.onnx"
    ran = command(weights, "--to", to, "--check")
    assert ran.exit_code == 0, ran.output
    assert "it answers as the network does, within " in ran.output
    assert metadata_of(to.read_bytes())["agent"] == "white"


def test_a_file_that_answers_otherwise_is_not_written(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(model, inputs) -> Answers:
        count, moves = len(inputs), len(inputs.rows)
        return Answers(torch.zeros(count, BINS), torch.zeros(moves), torch.full((moves,), float("nan")))

    monkeypatch.setattr(arena.export_weights_command, "onnx_model", lambda network, about: b"model")
    monkeypatch.setattr(arena.export_weights_command, "answers", answers)
    to = tmp_path / "mine.onnx"
    to.write_bytes(b"old")
    with pytest.raises(StoreError, match="answers differ from the network's by"):
        command(weights, "--to", to, "--check")
    assert to.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [to, weights]


@pytest.mark.parametrize("name", ["weights.pt", "weights"])
def test_other_kinds_of_files_are_refused(weights: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"name the file FILE\.safetensors or FILE\.onnx"):
        command(weights, "--to", tmp_path / name)


def test_what_can_not_be_written_is_one_line(weights: Path) -> None:
    with pytest.raises(SettingsError, match=r"/no/x\.safetensors: can't be written: No such file"):
        command(weights, "--to", "/no/x.safetensors")


def test_the_positions_of_a_check_are_many_and_always_the_same() -> None:
    boards = positions(20)
    assert len({board.fen() for board in boards}) == 20
    assert [board.fen() for board in positions(20)] == [board.fen() for board in boards]
    assert max(board.ply() for board in boards) > 60
