"""Every model by name: the one place where models are registered.

Loads torch only to make a model: whoever just asks for a name gets the answer without waiting for it.
"""

from typing import TYPE_CHECKING, Any

from common.errors import SettingsError
from common.settings import Objective, Reward, Settings
from learner.models import Model

if TYPE_CHECKING:
    import torch

TABLE = "table"
NETWORKS = ("mlp", "resnet", "transformer", TABLE)
"""What `network` can be in the settings: the networks of agent.loading, and the table."""


def check_network(settings: Settings) -> None:
    """Raise SettingsError unless there is a network of the name that the settings give."""
    if settings.network not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise SettingsError(f"network {settings.network!r} is not known; known are: {known}")


def make_model(
    settings: Settings, seed: int, device: "torch.device", objective: Objective = Objective.SARSA
) -> Model[Any]:
    """Return the untrained model that `settings.network` names; raise SettingsError for an unknown name."""
    check_network(settings)
    if settings.network == TABLE:
        from learner.table import TabularSarsa

        return TabularSarsa(
            discount=settings.discount,
            learning_rate=settings.learning_rate,
            # A sum of steps of the expected score is 0 on average, an outcome ½.
            initial_value=0.5 if settings.reward is Reward.OUTCOME else 0.0,
        )
    from agent import loading
    from learner.neural import NeuralSarsa

    make = loading.NETWORKS[settings.network]
    return NeuralSarsa(
        make(),
        make(),
        seed=seed,
        discount=settings.discount,
        learning_rate=settings.learning_rate,
        device=device,
        reward=settings.reward,
        objective=objective,
    )
