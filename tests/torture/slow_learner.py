"""Runs a learner that takes ten times as long over each unit; its own code knows nothing of it.

python -m tests.torture.slow_learner --settings FILE --agent NAME
"""

import runpy
import time

from common.batch import Batch
from learner.metrics import UnitMetrics
from learner.trainer import Trainer

TIMES_SLOWER = 10


def main() -> None:
    """Put a pause after each unit, nine times as long as the training took."""
    train_unit = Trainer.train_unit

    def slowly(trainer: Trainer, batch: Batch) -> UnitMetrics:
        begun_s = time.monotonic()
        metrics = train_unit(trainer, batch)
        time.sleep((TIMES_SLOWER - 1) * (time.monotonic() - begun_s))
        return metrics

    Trainer.train_unit = slowly
    runpy.run_module("learner", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
