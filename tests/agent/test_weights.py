from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.weights import digest, load_weights, pack, save_weights, unpack
from common.errors import MessageError, StoreError
from common.messages import WeightsHeader
from learner.registry import NETWORKS
from tests.learner.units import random_batch, small_settings, trained

WEIGHTS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([2**64 - 1], np.uint64),
    "empty": np.zeros((0, 5), np.uint16),
}


def packed() -> tuple[WeightsHeader, bytes]:
    return pack(WEIGHTS, agent="white", session="s", version=3, step=600, network="mlp")


def test_packed_weights_come_back_with_names_types_and_shapes() -> None:
    header, body = packed()
    arrays = unpack(header, body)
    assert list(arrays) == ["b", "a", "empty"]
    assert digest(arrays) == digest(WEIGHTS)
    assert (header.agent, header.version, header.step, header.network) == ("white", 3, 600, "mlp")


@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_networks_weights_fit_the_message(network: str) -> None:
    weights = trained(small_settings(network, samples_per_transition=0.5), [random_batch(0)]).final_weights()
    header, body = pack(weights.weights, agent="white", session="s", version=1, step=weights.step, network=network)
    decoded = msgspec.json.decode(msgspec.json.encode(header), type=WeightsHeader)
    assert digest(unpack(decoded, body)) == digest(weights.weights)


def test_weights_that_are_not_what_the_header_says_are_refused() -> None:
    header, body = packed()
    with pytest.raises(MessageError, match="not those of the hash"):
        unpack(header, body[:-1] + b"x")
    with pytest.raises(MessageError, match="31 bytes, not 32"):
        unpack(header, body[:-1])
    with pytest.raises(MessageError, match="bytes where the arrays need"):
        unpack(msgspec.structs.replace(header, arrays=header.arrays[:1]), body)
    doubled = [header.arrays[0], msgspec.structs.replace(header.arrays[1], name="b"), header.arrays[2]]
    with pytest.raises(MessageError, match="called the same"):
        unpack(msgspec.structs.replace(header, arrays=doubled), body)


def test_a_file_of_weights_comes_back_and_says_whose_they_are(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, WEIGHTS, {"agent": "white", "version": 3})
    arrays, about = load_weights(path)
    assert digest(arrays) == digest(WEIGHTS)
    assert about == {"agent": "white", "version": 3}
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test_equal_weights_give_equal_files(tmp_path: Path) -> None:
    about = {name: index for index, name in enumerate("abcdefgh")}
    for name in ("one", "two"):
        save_weights(tmp_path / name, WEIGHTS, about)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage" * 10)
    for name in ("garbage", "missing"):
        with pytest.raises(StoreError, match="can't read the weights"):
            load_weights(tmp_path / name)


def test_the_digest_tells_names_types_shapes_and_values_apart() -> None:
    array = np.arange(6, dtype=np.int32)
    variants = [
        {"x": array},
        {"y": array},
        {"x": array.reshape(2, 3)},
        {"x": array.view(np.uint32)},
        {"x": array + 1},
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)
