"""Learners compute with one thread, and so do their tests; and with an mlp that is small and fast."""

from collections.abc import Iterator

import pytest
import torch

from agent import loading
from tests.learner.units import small_mlp


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="package")
def fast_mlp() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(loading.NETWORKS, "mlp", small_mlp)
        yield
