"""Where one agent's files are, below the run directory."""

from dataclasses import dataclass
from pathlib import Path

from common.run_files import WEIGHTS_FILE


@dataclass(frozen=True, slots=True)
class AgentDirectory:
    """The directory `agents/NAME` of a run."""

    path: Path

    @classmethod
    def of(cls, run_directory: Path, agent: str) -> "AgentDirectory":
        """Return the directory of an agent of a run."""
        return cls(run_directory / "agents" / agent)

    @property
    def experience(self) -> Path:
        """The experience store."""
        return self.path / "experience.db"

    @property
    def checkpoints(self) -> Path:
        """The directory of checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The latest published weights."""
        return self.path / WEIGHTS_FILE

    @property
    def metrics(self) -> Path:
        """The metrics, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The directory of the same metrics for TensorBoard, beside those of the run's other agents."""
        return self.path.parent.parent / "tensorboard" / self.path.name
