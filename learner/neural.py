"""Neural SARSA: a network trained on Q, on values and on the prior at once.

For each transition that was played: Q(s, a) towards r + γ Q′(s′, a′) with the move that was played, V(s) towards
the expected score that Stockfish gives, μ(· | s) towards the move (cross-entropy over the moves that the pieces can
make). For each probe: Q(s, a) of the agent's move, and V(s) of what came of it; it teaches the prior nothing.

V and V + Q are means of distributions over bins, trained by cross-entropy with a histogram of a normal distribution
around the target (HL-Gauss, arXiv 2403.03950). Where rewards are outcomes, Q is an expected score by itself.

Q′ is the average of the network's weights over the last steps (Polyak averaging), and so is what is published.
AdamW, clipped gradients. Deterministic on CPU.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from agent.features import places_of, pseudo_legal_moves
from agent.networks import BINS, Inputs, Network, Outputs, expected_scores, inputs_of
from agent.weights import Arrays
from common.errors import StoreError
from common.positions import Positions, concatenate
from common.settings import Objective, Reward
from learner.adamw import AdamW
from learner.models import Estimates, Losses
from learner.probe_buffer import NO_PROBES
from learner.ranks import ranks_of
from learner.replay import Sample

Q_WEIGHT, VALUE_WEIGHT = 1.0, 1.0
"""Weights of the losses of Q and of the value beside the prior's, which has 1."""

SPREAD = 0.75 / BINS
"""Standard deviation of the histogram that stands for an expected score: 0.75 bins (arXiv 2403.03950, 4.1)."""

AVERAGE_EVERY, AVERAGE_DECAY = 4, 0.996
"""Gradient steps between updates of the averaged weights, and how much of the average each update keeps."""

MAX_GRADIENT_NORM = 1.0
WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.98)

_WEIGHTS = {
    Objective.SARSA: (Q_WEIGHT, VALUE_WEIGHT, 1.0),
    Objective.CLONING: (0.0, 0.0, 1.0),
    Objective.VALUE: (0.0, 1.0, 0.0),
}
_IMPOSSIBLE = -1e9
_ROWS = 512  # looked at together where nothing is trained


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedSample:
    """A sample as the network reads it: played rows, then probes, then what came of the probes."""

    inputs: Inputs
    chosen: Tensor
    """int64 [n + p] index, among the inputs' moves, of the move played or probed."""
    played: int
    """n, rows of transitions that were played."""
    possible: int
    """Moves that the pieces can make in those rows; they stand first among the inputs' moves."""
    returns: Tensor
    """float32 [n + p] expected score after each move as far as it is known without bootstrapping: w(s) + r where
    rewards are shaped, r where they are outcomes."""
    expected_scores: Tensor
    """float32 [n + 2p] w of each position, from its side to move."""
    following: "PreparedSample | None"
    """The next positions and the moves played there [n]; None where nothing is bootstrapped."""
    has_next: Tensor
    """bool [n]"""


class NeuralSarsa:
    """A network, the average of its weights, and its optimizer."""

    def __init__(
        self,
        network: Network,
        average: Network,
        *,
        seed: int,
        discount: float,
        learning_rate: float,
        device: torch.device,
        reward: Reward = Reward.SHAPED,
        objective: Objective = Objective.SARSA,
    ) -> None:
        """Draw the weights of `network` from `seed`; `average` is another network of its kind."""
        network.initialise(torch.Generator().manual_seed(seed % 2**63))
        self._network = network.to(device)
        self._average = average.to(device).requires_grad_(False)
        self._average.load_state_dict(network.state_dict())
        self._discount, self._learning_rate = discount, learning_rate
        self._reward, self._objective = reward, objective
        self._parameters = dict(self._network.named_parameters())
        self._optimizer = AdamW(self._parameters, weight_decay=WEIGHT_DECAY, betas=BETAS)
        self._losses = torch.zeros(4, device=device)  # sums over steps: Q, value, prior, gradient norm
        self._steps = 0
        self._updates = 0

    def observe(self, positions: Positions, actions: npt.NDArray[np.uint16]) -> None:
        """Do nothing: a network learns from samples alone."""

    def prepare(self, sample: Sample) -> PreparedSample:
        """Return `sample` as the network reads it; touches no weights, so that a thread can do it beside `step`."""
        bootstraps = self._discount > 0.0 and self._objective is Objective.SARSA
        return self._prepare(sample, self._prepare(_following(sample), None) if bootstraps else None)

    def _prepare(self, sample: Sample, following: PreparedSample | None) -> PreparedSample:
        probes = sample.probes
        positions = concatenate([sample.positions, probes.positions, probes.later_positions])
        device = self._losses.device
        inputs, chosen, possible = _inputs(positions, sample.actions, probes.actions, device)
        scores = (sample.expected_scores, probes.expected_scores, probes.later_expected_scores)
        return PreparedSample(
            inputs=inputs,
            chosen=chosen,
            played=len(sample),
            possible=possible,
            returns=torch.from_numpy(self._returns(sample)).to(device),
            expected_scores=torch.from_numpy(np.concatenate(scores)).to(device),
            following=following,
            has_next=torch.from_numpy(sample.has_next).to(device),
        )

    def _returns(self, sample: Sample) -> npt.NDArray[np.float32]:
        rewards = np.concatenate([sample.rewards, sample.probes.rewards])
        if self._reward is Reward.OUTCOME:
            return rewards
        before = np.concatenate([sample.expected_scores, sample.probes.expected_scores])
        returns: npt.NDArray[np.float32] = rewards + before
        return returns

    def step(self, sample: PreparedSample, rate: float) -> None:
        """Take one gradient step on `sample`, the learning rate times `rate`."""
        parts = self._parts(self._network, sample)
        loss = self._weighted(parts)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), MAX_GRADIENT_NORM)
        self._optimizer.step(self._learning_rate * rate)
        # Summed on the device: reading a loss at each step would make a GPU wait for us.
        self._losses += torch.stack((*parts, norm)).detach()
        self._steps += 1
        self._updates += 1
        if self._updates % AVERAGE_EVERY == 0:
            self._update_average()

    def take_losses(self) -> Losses:
        """Return the mean losses of the steps since the last call, and begin anew."""
        steps, self._steps = self._steps, 0
        q, value, prior, norm = (self._losses / steps).tolist() if steps else (math.nan,) * 4
        self._losses.zero_()
        return Losses(q=q, value=value, prior=prior, gradient_norm=norm, steps=steps)

    @torch.no_grad()
    def estimate(
        self, positions: Positions, rows: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
    ) -> Estimates:
        """Return what the averaged network makes of n positions and k moves in them; changes nothing."""
        out = self._average(inputs_of(positions, rows, actions, self._losses.device))
        values = expected_scores(out.value_logits)
        after = expected_scores(self._average.action_logits(out.moves))
        shaped = self._reward is Reward.SHAPED
        base = values[torch.from_numpy(rows).to(values.device)] if shaped else torch.zeros_like(after)
        return Estimates(
            values=values.cpu().numpy(),
            action_values=(after - base).cpu().numpy(),
            prior_logits=out.prior_logits.cpu().numpy(),
        )

    @torch.no_grad()
    def judge(self, sample: Sample) -> tuple[float, Losses, npt.NDArray[np.int64]]:
        """Return the averaged network's loss on `sample`, its parts, and the moves' ranks; changes nothing.

        In float32 on every device, as it is published: in fewer bits moves would tie that do not.
        """
        sums, total, ranks = np.zeros(3), 0.0, np.empty(len(sample), np.int64)
        for start in range(0, len(sample), _ROWS):
            part = sample.take(slice(start, start + _ROWS))
            prepared = self.prepare(part)
            out: Outputs = self._average(prepared.inputs)
            parts = self._parts_of(self._average, prepared, out)
            sums += [len(part) * float(value) for value in parts]
            total += len(part) * float(self._weighted(parts))
            ranks[start : start + _ROWS] = _ranks(prepared, out.prior_logits)
        q, value, prior = (sums / len(sample)).tolist()
        return total / len(sample), Losses(q=q, value=value, prior=prior, gradient_norm=0.0, steps=1), ranks

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the averaged parameters."""
        return _arrays(self._average.state_dict())

    def state(self) -> dict[str, Arrays]:
        """Return copies of the averaged parameters, of those that are trained, and of the optimizer's moments."""
        return {
            "network": self.weights(),
            "trained": _arrays(self._network.state_dict()),
            "optimizer": _arrays(self._optimizer.tensors()) if self._updates else {},
        }

    def restore(self, state: Mapping[str, Arrays]) -> None:
        """Go on from `state`; raise StoreError when its arrays are not those of this network."""
        parameters = self._network.state_dict()
        moments = self._optimizer.tensors() if state["optimizer"] else {}
        for group, expected in (("network", parameters), ("trained", parameters), ("optimizer", moments)):
            _check(group, state[group], expected)
        self._average.load_state_dict(_tensors(state["network"]))
        self._network.load_state_dict(_tensors(state["trained"]))
        self._updates = int(state["optimizer"]["step"]) if state["optimizer"] else 0
        self._optimizer.restore(_tensors(state["optimizer"]))

    def _parts(self, network: Network, sample: PreparedSample) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses of Q, of the value and of the prior on `sample`, each a float32 scalar."""
        return self._parts_of(network, sample, _read(network, sample))

    def _parts_of(self, network: Network, sample: PreparedSample, out: Outputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same of what `network` has made of `sample` already."""
        inputs, chosen = sample.inputs, sample.chosen
        moves = chosen[: sample.played]
        return (
            functional.cross_entropy(network.action_logits(out.moves[chosen]), histograms(self._targets(sample))),
            functional.cross_entropy(out.value_logits, histograms(sample.expected_scores)),
            -_log_priors(sample, out.prior_logits)[inputs.rows[moves], inputs.slots[moves]].mean(),
        )

    def _weighted(self, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        q, value, prior = _WEIGHTS[self._objective]
        return q * parts[0] + value * parts[1] + prior * parts[2]

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the network; from the start on by a share that falls with the updates."""
        updates = self._updates // AVERAGE_EVERY
        keep = min(AVERAGE_DECAY, updates / (updates + 9.0))
        for mean, parameter in zip(self._average.parameters(), self._parameters.values(), strict=True):
            mean.lerp_(parameter, 1.0 - keep)

    @torch.no_grad()
    def _targets(self, sample: PreparedSample) -> Tensor:
        """Return the expected scores that the moves are trained towards, float32 [n + p].

        They are w(s) + r + γ Q′(s′, a′), without w(s) where rewards are outcomes, and without the last term at the
        end of a game and of a probe.
        """
        following = sample.following
        if following is None:
            return sample.returns
        out = self._average(following.inputs)
        values = expected_scores(self._average.action_logits(out.moves[following.chosen]))  # [n]
        if self._reward is Reward.SHAPED:
            values = values - expected_scores(out.value_logits)
        targets = sample.returns.clone()
        targets[: sample.played] += self._discount * values * sample.has_next
        return targets.clamp(0.0, 1.0)


def histograms(scores: Tensor) -> Tensor:
    """Return the distributions over BINS that expected scores [n] are trained towards, float32 [n, BINS].

    The share of a bin is that of a normal distribution around the score, cut off at 0 and 1 (arXiv 2403.03950).
    """
    edges = torch.linspace(0.0, 1.0, BINS + 1, device=scores.device)
    below = torch.special.ndtr((edges - scores.unsqueeze(1)) / SPREAD)  # [n, BINS + 1]
    shares: Tensor = below[:, 1:] - below[:, :-1]
    return shares / shares.sum(dim=1, keepdim=True)


def _inputs(
    positions: Positions, played: npt.NDArray[np.int64], probed: npt.NDArray[np.int64], device: torch.device
) -> tuple[Inputs, Tensor, int]:
    """Return positions with moves in them, where among those the moves made are, and how many the first n have.

    Of the first n positions, in which `played` [n] was, they are all that the pieces can make; of the next p the
    one `probed` [p], since a probe teaches nothing of the others; of the rest none.
    """
    count = len(played)
    rows, possible = pseudo_legal_moves(positions.take(slice(0, count)), played)
    chosen = places_of(played, rows, possible)
    all_rows = np.concatenate([rows, np.arange(count, count + len(probed))])
    all_moves = np.concatenate([possible, probed])
    all_chosen = np.concatenate([chosen, len(rows) + np.arange(len(probed))])
    return inputs_of(positions, all_rows, all_moves, device), torch.from_numpy(all_chosen).to(device), len(rows)


def _following(sample: Sample) -> Sample:
    """Return the transitions after those of `sample`, as far as bootstrapping asks: positions and moves."""
    return Sample(
        positions=sample.next_positions,
        actions=sample.next_actions,
        rewards=sample.rewards,
        expected_scores=sample.expected_scores,
        has_next=sample.has_next,
        next_positions=sample.next_positions,
        next_actions=sample.next_actions,
        probes=NO_PROBES,
    )


def _read(network: Network, sample: PreparedSample) -> Outputs:
    """Return what `network` makes of `sample`."""
    with _precision(sample.inputs.rows.device):
        outputs: Outputs = network(sample.inputs)
    return outputs


def _ranks(sample: PreparedSample, logits: Tensor) -> npt.NDArray[np.int64]:
    """Return how many other pseudo-legal moves have no lower logit than each move that was played, int64 [n]."""
    own, rows = sample.chosen[: sample.played], sample.inputs.rows[: sample.possible]
    known = logits[: sample.possible].float()
    return ranks_of(known.cpu().numpy(), own.cpu().numpy(), rows.cpu().numpy())


def _log_priors(sample: PreparedSample, logits: Tensor) -> Tensor:
    """Return the logarithms of the prior's shares in the first n positions, float32 [n, width], moves in slots."""
    inputs, known = sample.inputs, sample.possible
    table = torch.full((sample.played, inputs.width), _IMPOSSIBLE, device=logits.device)
    return table.index_put((inputs.rows[:known], inputs.slots[:known]), logits[:known]).log_softmax(dim=1)


def _precision(device: torch.device) -> torch.autocast:
    """Return mixed precision on a GPU, and none on a CPU, where results must be the same bits everywhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _check(group: str, arrays: Arrays, expected: Mapping[str, Tensor]) -> None:
    """Raise StoreError unless `arrays` are named, typed and shaped as `expected`."""
    found = {name: (tuple(array.shape), str(array.dtype)) for name, array in arrays.items()}
    wanted = {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for name, tensor in expected.items()
    }
    if found != wanted:
        wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise StoreError(f"{group}: the arrays are not those of this network: {', '.join(wrong[:5])}")
