"""Figures of states of training on the games that are kept out of it, taken beside the training.

With a network of its own, so that the one that is trained can go on. Draws nothing at random.
"""

from typing import Any

import torch

from common.settings import Settings
from learner.evaluation import Validation, validate
from learner.models import Model
from learner.registry import make_model
from learner.replay import Sample
from learner.state import TrainerState


class Validator:
    """Looks at states of an agent's training; `figures` may be called in any one thread at a time."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        # Made here and not where it is used: to make a network draws from torch's one random state.
        self._model: Model[Any] = make_model(settings, 0, device)

    def figures(self, state: TrainerState, sample: Sample) -> Validation | None:
        """Return the figures of `state` on `sample`, None for an empty one; both stay as they are."""
        if not len(sample):
            return None
        arrays = dict(state.arrays)
        if arrays["trained"]:
            arrays["optimizer"] = {}  # a network's moments: twice its size, and nothing is judged by them
        self._model.restore(arrays)
        return validate(self._model, sample)
