"""Every model by name: the one place where networks are registered.

Loads torch only to make a model: whoever just asks for a name gets the answer without waiting for it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.errors import SettingsError
from common.settings import Reward, Settings
from learner.models import Model

if TYPE_CHECKING:
    import torch

    from learner.networks import Network

Factory = Callable[[Settings, int, "torch.device"], Model]
"""(settings, seed, device) -> an untrained model."""


def _mlp(settings: Settings, seed: int, device: "torch.device") -> Model:
    from learner.networks import Mlp

    return _neural(Mlp, settings, seed, device)


def _resnet(settings: Settings, seed: int, device: "torch.device") -> Model:
    from learner.networks import ResNet

    return _neural(ResNet, settings, seed, device)


def _neural(network: Callable[[], "Network"], settings: Settings, seed: int, device: "torch.device") -> Model:
    from learner.neural import NeuralSarsa

    return NeuralSarsa(
        network(),
        network(),
        seed=seed,
        discount=settings.discount,
        learning_rate=settings.learning_rate,
        device=device,
    )


def _table(settings: Settings, _seed: int, _device: "torch.device") -> Model:
    from learner.table import TabularSarsa

    return TabularSarsa(
        discount=settings.discount,
        learning_rate=settings.learning_rate,
        # A sum of steps of the expected score is 0 on average, an outcome ½.
        initial_value=0.5 if settings.reward is Reward.OUTCOME else 0.0,
    )


NETWORKS: dict[str, Factory] = {
    "mlp": _mlp,
    "resnet": _resnet,
    "table": _table,
}


def check_network(settings: Settings) -> None:
    """Raise SettingsError unless there is a network of the name that the settings give."""
    if settings.network not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise SettingsError(f"network {settings.network!r} is not known; known are: {known}")


def make_model(settings: Settings, seed: int, device: "torch.device") -> Model:
    """Return the untrained model that `settings.network` names; raise SettingsError for an unknown name."""
    check_network(settings)
    return NETWORKS[settings.network](settings, seed, device)
