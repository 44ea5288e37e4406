"""The scripts in samples/, which belong to no package, as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

SAMPLES = Path(__file__).resolve().parent.parent.parent / "samples"


def script_called(name: str) -> ModuleType:
    """Return the script `name`.py as a module of its own."""
    spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
