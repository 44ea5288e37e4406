"""Which torch device a learner trains on."""

import torch

from common.errors import SettingsError
from common.settings import Settings


def choose_device(settings: Settings, agent_name: str) -> torch.device:
    """Return the device that `settings.device` means for this agent.

    `auto` is the first GPU where there is one, `round-robin` spreads the agents over all GPUs in the order of
    the settings; both are the CPU where there is none. Raises SettingsError for a GPU that is not there.
    """
    wanted = settings.device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (count == 0 and wanted in ("auto", "round-robin")):
        return torch.device("cpu")
    if wanted == "round-robin":
        place = [agent.name for agent in settings.agents].index(agent_name)
        return torch.device("cuda", place % count)
    if wanted == "auto":
        return torch.device("cuda", 0)
    device = torch.device(wanted)
    if (device.index or 0) >= count:
        raise SettingsError(f"device {wanted!r}: this host has {count} CUDA devices; use --device cpu or auto")
    return device
