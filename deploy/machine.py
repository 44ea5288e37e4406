"""The machine and the software that a run was made with, as far as they can be told without being asked."""

import os
import platform
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where the packages lie: the checkout, if they were installed from one in place."""
GIT_S = 5.0
"""Longest wait for git."""
_NVIDIA = Path("/proc/driver/nvidia/gpus")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine."""

    host: str
    system: str
    """Operating system and its release."""
    cpu: str
    """Model, or the architecture where it has no name."""
    cores: int
    """CPUs that the process might use."""
    memory_bytes: int
    gpus: list[str] = []
    """Models, as NVIDIA's driver names them; none where there is no such driver."""


def this_machine() -> Machine:
    """Return what this machine is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        host=socket.gethostname(),
        system=f"{platform.system()} {platform.release()}",
        cpu=_field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        cores=cores,
        memory_bytes=int(psutil.virtual_memory().total),
        gpus=_gpus(),
    )


def commit(checkout: Path = CHECKOUT) -> str | None:
    """Return the git commit of the software, with `-dirty` where files were changed since; None if not known."""
    if not (checkout / ".git").exists():
        return None
    found = _git(checkout, "rev-parse", "HEAD")
    if not found:
        return None
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return found + ("-dirty" if changed else "")


def _git(checkout: Path, *arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(checkout), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, env=environment, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _gpus() -> list[str]:
    found = []
    with suppress(OSError):
        found = sorted(_NVIDIA.iterdir())
    return [name for folder in found if (name := _field(folder / "information", "Model"))]


def _field(path: Path, name: str) -> str:
    """Return the first `name: value` in a file of the kernel's; nothing where there is none."""
    with suppress(OSError, UnicodeDecodeError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""
