"""Neural SARSA: a network trained on Q and the prior at once.

Target r + γ Q_target(s′, a′) with the move that was played, Huber loss, AdamW, clipped gradients, and a
target network that is copied over at the trainer's command. Deterministic on CPU.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from common.errors import StoreError
from common.positions import Positions
from common.transitions import Transitions
from learner.models import Arrays, Estimates, Losses
from learner.networks import Network
from learner.replay import Sample

HUBER_DELTA = 0.25
"""TD error, in points of expected score, from which the loss grows linearly."""

MAX_GRADIENT_NORM = 1.0
WEIGHT_DECAY = 1e-4

_MOMENTS = ("exp_avg", "exp_avg_sq")


class NeuralSarsa:
    """A network, its target network and its optimizer."""

    def __init__(
        self,
        network: Network,
        target: Network,
        *,
        seed: int,
        discount: float,
        learning_rate: float,
        device: torch.device,
    ) -> None:
        """Draw the weights of `network` from `seed`; `target` is another network of its kind."""
        network.initialise(torch.Generator().manual_seed(seed % 2**63))
        self._network = network.to(device)
        self._target = target.to(device).requires_grad_(False)
        self._discount = discount
        self._parameters = dict(self._network.named_parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True
        )
        self._losses = torch.zeros(3, device=device)  # sums over steps: Q, prior, gradient norm
        self._steps = 0
        self.update_target()

    def observe(self, transitions: Transitions) -> None:
        """Do nothing: a network learns from samples alone."""

    def step(self, sample: Sample) -> None:
        """Take one gradient step on `sample`."""
        device = self._losses.device
        actions = torch.from_numpy(sample.actions).to(device)
        hidden = self._network.hidden(sample.positions)  # [n, width]
        values = self._network.values_of(hidden, actions)  # [n]
        q_loss = functional.huber_loss(values, self._targets(sample), delta=HUBER_DELTA)
        prior_loss = functional.cross_entropy(self._network.prior_logits(hidden), actions)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(q_loss + prior_loss)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        # Summed on the device: reading a loss at each step would make a GPU wait for us.
        self._losses += torch.stack((q_loss.detach(), prior_loss.detach(), norm))
        self._steps += 1

    @torch.no_grad()
    def update_target(self) -> None:
        """Copy the network over the target network."""
        self._target.load_state_dict(self._network.state_dict())

    def take_losses(self) -> Losses:
        """Return the mean losses of the steps since the last call, and begin anew."""
        steps, self._steps = self._steps, 0
        q, prior, norm = (self._losses / steps).tolist() if steps else (math.nan,) * 3
        self._losses.zero_()
        return Losses(q=q, prior=prior, gradient_norm=norm, steps=steps)

    @torch.no_grad()
    def estimate(
        self, positions: Positions, actions: npt.NDArray[np.uint16], moves: npt.NDArray[np.int64] | None = None
    ) -> Estimates:
        """Return Q of the moves played [n] and the prior's logits of `moves` [n, k]; changes nothing."""
        hidden = self._network.hidden(positions)  # [n, width]
        played = torch.from_numpy(actions.astype(np.int64)).to(hidden.device)
        asked = None if moves is None else torch.from_numpy(moves).to(hidden.device)
        return Estimates(
            values=self._network.values_of(hidden, played).cpu().numpy(),
            prior_logits=self._network.prior_logits(hidden, asked).cpu().numpy(),
        )

    @torch.no_grad()
    def action_values(self, positions: Positions) -> npt.NDArray[np.float32]:
        """Return Q of every move, float32 [n, 1880]; changes nothing."""
        values = self._network.action_values(self._network.hidden(positions))
        array: npt.NDArray[np.float32] = values.cpu().numpy()
        return array

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the network's parameters."""
        return _arrays(self._network.state_dict())

    def state(self) -> dict[str, Arrays]:
        """Return copies of the network's and the target's parameters and the optimizer's moments."""
        return {
            "network": self.weights(),
            "target": _arrays(self._target.state_dict()),
            "optimizer": _arrays(self._optimizer_tensors()),
        }

    def restore(self, state: Mapping[str, Arrays]) -> None:
        """Go on from `state`; raise StoreError when its arrays are not those of this network."""
        parameters = self._network.state_dict()
        moments: dict[str, Tensor] = {}
        if state["optimizer"]:
            moments["step"] = torch.zeros(())
            moments |= {f"{name}.{moment}": parameters[name] for name in parameters for moment in _MOMENTS}
        for group, expected in (("network", parameters), ("target", parameters), ("optimizer", moments)):
            _check(group, state[group], expected)
        self._network.load_state_dict(_tensors(state["network"]))
        self._target.load_state_dict(_tensors(state["target"]))
        self._restore_optimizer(_tensors(state["optimizer"]))

    def _targets(self, sample: Sample) -> Tensor:
        """Return r + γ Q_target(s′, a′), float32 [n], without the second term at the end of a game."""
        device = self._losses.device
        with torch.no_grad():
            hidden = self._target.hidden(sample.next_positions)
            following = self._target.values_of(hidden, torch.from_numpy(sample.next_actions).to(device))
            rewards = torch.from_numpy(sample.rewards).to(device)
            return rewards + self._discount * following * torch.from_numpy(sample.has_next).to(device)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        """Return the optimizer's state as named tensors: its step count, and two moments a parameter."""
        if not self._optimizer.state:
            return {}
        tensors = {
            f"{name}.{moment}": self._optimizer.state[parameter][moment]
            for name, parameter in self._parameters.items()
            for moment in _MOMENTS
        }
        first = next(iter(self._parameters.values()))
        return {"step": self._optimizer.state[first]["step"], **tensors}

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        self._optimizer.state.clear()
        if not tensors:
            return
        for name, parameter in self._parameters.items():
            # Each its own copy: the optimizer counts the steps up in place, parameter by parameter.
            self._optimizer.state[parameter] = {
                "step": tensors["step"].to(parameter.device, copy=True),
                **{moment: tensors[f"{name}.{moment}"].to(parameter.device) for moment in _MOMENTS},
            }


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
