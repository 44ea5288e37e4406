"""The doctor's look at PyTorch: which devices the learners of this host would train on."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from common.errors import SettingsError
from common.quantities import size
from common.settings import Settings
from deploy.finding import Facts, Finding, fail, ok, warn

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def check_torch(settings: Settings) -> Iterator[Finding]:
    """Look at PyTorch and its devices; nothing where it is not installed, which the packages' check says."""
    try:
        torch = import_module("torch")
        choose_device = import_module("learner.devices").choose_device
    except Exception:  # missing or broken: said by the packages' check
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.cuda.get_device_properties(number) for number in range(count)]
    names = ", ".join(f"cuda:{n} {each.name} ({size(each.total_memory)})" for n, each in enumerate(devices))
    facts: Facts = {"version": str(torch.__version__), "cuda": torch.version.cuda, "cuda_devices": count}
    try:
        chosen = {agent.name: str(choose_device(settings, agent.name)) for agent in settings.agents}
    except SettingsError as error:
        yield fail("torch", f"{torch.__version__}: {error}", "choose another --device", facts)
        return
    where = ", ".join(f"{name} on {device}" for name, device in chosen.items())
    summary = f"{torch.__version__}, {names or 'no CUDA device'}; --device {settings.device} trains {where}"
    if not count and NVIDIA_DRIVER.exists():
        yield warn(
            "torch",
            f"{summary}, although this host has an NVIDIA driver",
            "install a PyTorch that fits the driver: https://pytorch.org/get-started/locally",
            facts,
        )
        return
    yield ok("torch", summary, facts)
