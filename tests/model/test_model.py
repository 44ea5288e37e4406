"""Leasing, delivery and acknowledgement, held by whole runs in an unkind world; see `unkind`."""

import pytest
from hypothesis import settings

from tests.model.unkind import UnkindRun, long_run


@pytest.mark.parametrize("seed", range(40))
def test_a_long_unkind_run_comes_to_its_end(seed: int) -> None:
    long_run(seed, steps=200)


UnkindRun.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestUnkindRun = UnkindRun.TestCase
