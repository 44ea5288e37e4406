"""AdamW over named parameters: torch's own function, with the moments kept here.

Not `torch.optim.AdamW`: making one imports torch's compiler, half of a learner's start. Their bits are alike.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_MOMENTS = ("exp_avg", "exp_avg_sq")
"""Running means of the gradients and of their squares (arXiv 1711.05101, algorithm 2: m and v)."""


class AdamW:
    """The optimizer of some parameters, each of which must have a gradient at every step."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        weight_decay: float,
        betas: tuple[float, float],
        epsilon: float = 1e-8,
    ) -> None:
        """`parameters` are changed in place by `step`."""
        self._parameters = dict(parameters)
        self._weight_decay, self._betas, self._epsilon = weight_decay, betas, epsilon
        self._moments = {
            f"{name}.{moment}": torch.zeros_like(parameter, requires_grad=False)
            for name, parameter in self._parameters.items()
            for moment in _MOMENTS
        }
        self._counts = [torch.zeros((), device=parameter.device) for parameter in self._parameters.values()]
        """float32 scalars: the steps taken, one for each parameter, as the function wants them."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Take a step along the gradients."""
        gradients = [parameter.grad for parameter in self._parameters.values() if parameter.grad is not None]
        means, squares = ([self._moments[f"{name}.{moment}"] for name in self._parameters] for moment in _MOMENTS)
        adamw(
            list(self._parameters.values()), gradients, means, squares, [], self._counts,
            fused=True, amsgrad=False, maximize=False, lr=learning_rate, beta1=self._betas[0], beta2=self._betas[1],
            weight_decay=self._weight_decay, eps=self._epsilon,
        )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by name, not copied: `step`, how many were taken, and two moments a parameter."""
        return {"step": self._counts[0], **self._moments}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` returned, of parameters of the same names and shapes; from nothing, anew."""
        for count in self._counts:
            count.copy_(tensors["step"] if tensors else torch.zeros(()))
        for name, moment in self._moments.items():
            moment.copy_(tensors[name] if tensors else torch.zeros(()))
