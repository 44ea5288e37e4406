"""ONNX: a network as a file for any runtime, its inputs padded to rectangles, and what such a file answers.

    features    int64 [n, F]       numbers of the position features; PADDING fills the rest (mlp)
    tokens      int64 [n, 64]      what stands on each square, and
    situations  int64 [n, 4]       rights, en passant, clock and repetitions (resnet, transformer)
    moves       int64 [n, M, 6]    features of each move; zeros fill the rest
    mask        bool [n, M]        which moves are there

    value           float32 [n, BINS]  distribution of the expected score for the side to move, over [0, 1]
    prior_logits    float32 [n, M]     logits of μ; the lowest float where there is no move
    action_values   float32 [n, M]     Q; 0 where there is no move

n, F and M are free. agent.features makes these numbers from positions, agent.networks.inputs_of puts them together.
Needs the packages of the extra `onnx`, which are imported only when asked for.
"""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import chess
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from agent.boards import actions_of, positions_of, side_of
from agent.features import MOVE_FAMILIES, POSITION_FEATURES
from agent.networks import Inputs, Mlp, Network, expected_scores, inputs_of
from common.errors import OperatorError
from common.positions import SQUARES

PADDING = POSITION_FEATURES
"""Number that stands for no feature."""

METADATA = "rookery"
"""Key of the file's metadata under which JSON says whose weights they are."""

OPSET = 18
EXTRA = "pip install 'rookery[onnx]'"

_FEATURES, _SQUARES, _MOVES = ("features",), ("tokens", "situations"), ("moves", "mask")
_OUTPUTS = ("value", "prior_logits", "action_values")


class Rectangles(NamedTuple):
    """n positions and up to M moves in each, padded, as the file reads them."""

    features: npt.NDArray[np.int64]
    """[n, F]"""
    tokens: npt.NDArray[np.int64]
    """[n, 64]"""
    situations: npt.NDArray[np.int64]
    """[n, 4]"""
    moves: npt.NDArray[np.int64]
    """[n, M, 6]"""
    mask: npt.NDArray[np.bool_]
    """[n, M]"""


class Answers(NamedTuple):
    """What is made of n positions and k moves in them, float32."""

    value: Tensor
    """[n, BINS] distribution of the expected score for the side to move."""
    prior_logits: Tensor
    """[k] of each move."""
    action_values: Tensor
    """[k] Q of each move: the expected score after it less that before."""


def ask(network: Network, inputs: Inputs) -> Answers:
    """Return what a network makes of n positions and k moves in them; gradients pass."""
    out = network(inputs)
    values = expected_scores(out.value_logits)[inputs.rows]
    action_values = expected_scores(network.action_logits(out.moves)) - values
    return Answers(out.value_logits.softmax(dim=1), out.prior_logits, action_values)


def rectangles(inputs: Inputs) -> Rectangles:
    """Return the same positions and moves, padded: move i of position j stands at [j, i]."""
    count, ends = len(inputs), np.append(inputs.offsets.cpu().numpy()[1:], len(inputs.features))
    lengths = np.diff(ends, prepend=0)
    there = np.arange(max(lengths, default=0)) < lengths[:, None]  # [n, F]
    features = np.full(there.shape, PADDING, np.int64)
    features[there] = inputs.features.cpu().numpy()
    places = inputs.rows.cpu().numpy(), inputs.slots.cpu().numpy()
    moves = np.zeros((count, inputs.width, MOVE_FAMILIES), np.int64)
    moves[places] = inputs.moves.cpu().numpy()
    mask = np.zeros((count, inputs.width), np.bool_)
    mask[places] = True
    return Rectangles(features, inputs.tokens.cpu().numpy(), inputs.situations.cpu().numpy(), moves, mask)


def onnx_model(network: Network, about: Mapping[str, Any]) -> bytes:
    """Return the ONNX file of `network`, `about` as JSON in its metadata.

    Raises OperatorError where the packages that make one are missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise OperatorError(f"ONNX files need {error.name}: {EXTRA}") from error
    module = Rectangular(network).eval()
    names = module.input_names
    with torch.no_grad(), _silence():
        program = torch.onnx.export(
            module,
            tuple(_EXAMPLES[name] for name in names),
            input_names=names,
            output_names=_OUTPUTS,
            dynamic_shapes=(tuple(_free(name) for name in names),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(dict(about), sort_keys=True)
    content: bytes = model.SerializeToString()
    return content


def metadata_of(model: bytes) -> dict[str, Any]:
    """Return what an ONNX file of ours says about itself."""
    found: dict[str, Any] = json.loads(_session(model).get_modelmeta().custom_metadata_map[METADATA])
    return found


def answers(model: bytes, inputs: Inputs) -> Answers:
    """Return what an ONNX file makes of n positions and k moves in them.

    Raises OperatorError where onnxruntime is missing.
    """
    session = _session(model)
    given = rectangles(inputs)._asdict()
    value, logits, action_values = session.run(
        list(_OUTPUTS), {entry.name: given[entry.name] for entry in session.get_inputs()}
    )
    places = inputs.rows.cpu(), inputs.slots.cpu()
    return Answers(
        torch.from_numpy(value), torch.from_numpy(logits)[places], torch.from_numpy(action_values)[places]
    )


def legal_inputs(boards: Sequence[chess.Board]) -> Inputs:
    """Return n positions, each with a legal move, and all their legal moves, as networks read them."""
    legal = [list(board.legal_moves) for board in boards]
    actions = [actions_of(moves, side_of(board)) for moves, board in zip(legal, boards, strict=True)]
    rows = np.repeat(np.arange(len(boards)), [len(moves) for moves in legal])
    return inputs_of(positions_of(boards), rows, np.concatenate(actions))


def difference(mine: Answers, theirs: Answers) -> float:
    """Return the greatest difference between two answers: of chances, logits and Q; relative to those above 1."""
    pairs = ((one.cpu(), other.cpu()) for one, other in zip(mine, theirs, strict=True))
    greatest = [((one - other).abs() / one.abs().clamp(min=1)).max() for one, other in pairs]
    return float(torch.stack(greatest).max())  # not a number if one is none


class Rectangular(nn.Module):
    """A network that reads rectangles: what is exported. It has its own copy of the weights, on the CPU."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).float().cpu().requires_grad_(False)
        self.input_names = (*(_FEATURES if isinstance(network, Mlp) else _SQUARES), *_MOVES)
        if isinstance(self.network, Mlp):  # no feature adds nothing
            rows = self.network.embedding
            self.network.embedding = nn.Parameter(
                torch.cat((rows, torch.zeros_like(rows[:1]))), requires_grad=False
            )

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs for the inputs named by `input_names`."""
        given = dict(zip(self.input_names, tensors, strict=True))
        moves, mask = given["moves"], given["mask"]
        count, width = moves.shape[0], moves.shape[1]
        none = moves.new_zeros(0)
        inputs = Inputs(
            features=given.get("features", none),
            offsets=None,  # type: ignore[arg-type]  # rectangles need none
            tokens=given.get("tokens", none),
            situations=given.get("situations", none),
            rows=torch.arange(count).unsqueeze(1).expand(count, width).flatten(),
            moves=moves.flatten(0, 1),
            slots=none,
            width=width,
        )
        with _SumsOfRows():
            value, flat_logits, flat_values = ask(self.network, inputs)
        lowest = torch.finfo(torch.float32).min
        logits = flat_logits.view(count, width).masked_fill(~mask, lowest)
        return value, logits, flat_values.view(count, width).masked_fill(~mask, 0)


class _SumsOfRows(TorchFunctionMode):
    """Turns bags of embeddings, which become a loop over positions in ONNX, into one look-up and one sum."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        if function is functional.embedding_bag:
            numbers, weight = args[:2]
            return functional.embedding(numbers, weight).sum(dim=1)
        return function(*args, **(kwargs or {}))


# Sizes that no network has, so that none is taken for a constant.
_EXAMPLES = {
    "features": torch.full((3, 7), PADDING),
    "tokens": torch.zeros(3, SQUARES, dtype=torch.int64),
    "situations": torch.zeros(3, 4, dtype=torch.int64),
    "moves": torch.zeros(3, 5, MOVE_FAMILIES, dtype=torch.int64),
    "mask": torch.ones(3, 5, dtype=torch.bool),
}


def _free(name: str) -> dict[int, Any]:
    """Return the free dimensions of an input."""
    second = {"features": "F", "moves": "M", "mask": "M"}
    return {0: torch.export.Dim("n"), **({1: torch.export.Dim(second[name])} if name in second else {})}


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter from telling how far it is."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def _session(model: bytes) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise OperatorError(f"ONNX files are run with {error.name}: {EXTRA}") from error
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
