"""Runs a service whose process kills itself at a named point, once a token for that point lies in a folder.

    TORTURE_TOKENS=folder python -m tests.torture.failing learner --agent white …

The harness arms a point with `arm`; the process that gets there first takes the token away and dies by SIGKILL.
The service's own code knows nothing of it: functions are replaced here, in the child, before the service starts.
"""

import os
import runpy
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common.files
import common.process
import learner.checkpoints
from common.links import LearnerLink, Transport
from learner.checkpoints import CheckpointDirectory
from learner.store import STORE_FILE

FOLDER = "TORTURE_TOKENS"
"""Environment variable that names the folder."""

POINTS = (
    "store before commit",
    "store after commit, before acknowledgement",
    "checkpoint half written",
    "checkpoint before rename",
    "checkpoint after rename",
    "checkpoint before pruning",
    "checkpoint half pruned",
    "weights half written",
    "weights written, not published",
)


def token(folder: Path, agent: str, point: str) -> Path:
    """Return where the token lies that arms a point for an agent's learner."""
    return folder / f"{agent}: {point}"


class Failing:
    """Replaces functions of the learner in this process, so that it dies where it is told to."""

    def __init__(self, folder: Path, agent: str) -> None:
        self._folder, self._agent = folder, agent
        self._rename, self._replace, self._prune = Path.rename, Path.replace, CheckpointDirectory._prune
        self._write_synced, self._reach_broker = common.files.write_synced, common.process.reach

    def install(self) -> None:
        """Put the replacements in place."""
        failing = self

        class Connection(sqlite3.Connection):
            def __exit__(self, *exception: Any) -> Any:
                failing.reach("store before commit")
                result = super().__exit__(*exception)
                failing.reach("store after commit, before acknowledgement")
                return result

        connect = sqlite3.connect

        def connect_(path: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
            ours = Path(str(path)).name == STORE_FILE  # opened for writing: a reader's path is a URI
            return connect(path, *arguments, **options, **({"factory": Connection} if ours else {}))

        sqlite3.connect = connect_
        Path.rename = lambda path, target: failing.rename(path, Path(target))
        CheckpointDirectory._prune = lambda directory: failing.prune(directory)
        common.files.write_synced = learner.checkpoints.write_synced = failing.write_synced
        common.process.reach = lambda settings, holder: FailingTransport(
            failing, failing._reach_broker(settings, holder)
        )

    def reach(self, point: str, last_words: Callable[[], object] | None = None) -> None:
        """Die here, if this point is armed, after doing what `last_words` does."""
        try:
            token(self._folder, self._agent, point).unlink()
        except FileNotFoundError:
            return
        if last_words is not None:
            last_words()
        os.kill(os.getpid(), signal.SIGKILL)

    def rename(self, path: Path, target: Path) -> Path:
        if target.name.startswith("step-"):
            self.reach("checkpoint before rename")
            renamed = self._rename(path, target)
            self.reach("checkpoint after rename")
            return renamed
        renamed = self._rename(path, target)
        if path.name.startswith("step-"):
            self.reach("checkpoint half pruned", lambda: next(renamed.iterdir()).unlink())
        return renamed

    def prune(self, directory: CheckpointDirectory) -> None:
        self.reach("checkpoint before pruning")
        self._prune(directory)

    def write_synced(self, path: Path, content: bytes) -> None:
        def half() -> None:
            self._write_synced(path, content[: len(content) // 2])

        if path.name == "optimizer.safetensors":
            self.reach("checkpoint half written", half)
        if "weights" in path.name:
            self.reach("weights half written", half)
        self._write_synced(path, content)


class FailingTransport:
    """A transport whose links to learners reach a point before they publish; all else is as it was."""

    def __init__(self, failing: Failing, transport: Transport) -> None:
        self._failing, self._transport = failing, transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def learner(self, *arguments: Any) -> "FailingLink":
        return FailingLink(self._failing, self._transport.learner(*arguments))


class FailingLink:
    """A learner's link; see FailingTransport."""

    def __init__(self, failing: Failing, link: LearnerLink) -> None:
        self._failing, self._link = failing, link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def publish(self, header: Any, body: bytes) -> None:
        self._failing.reach("weights written, not published")
        self._link.publish(header, body)


def main() -> None:
    """Run the module that the arguments name, as `python -m` would."""
    module, arguments = sys.argv[1], sys.argv[2:]
    if FOLDER in os.environ:
        Failing(Path(os.environ[FOLDER]), arguments[arguments.index("--agent") + 1]).install()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
