"""Checkpoints: all that a learner needs to end with the weights that it would have had.

A checkpoint is a directory, written under a temporary name, synced, and renamed:

    step-000001234-unit-000000057/
        manifest.json           what it is; size and SHA-256 of each file; its own SHA-256
        network.safetensors     the weights
        trained.safetensors     the weights that are trained, where those are their average
        optimizer.safetensors   the optimizer's arrays

The best one is that with the least loss on games kept out of training. As a run goes on, more of them are known,
and losses over different games don't compare: checkpoints judged on more rows go before those judged on fewer. With
nine tenths of the most they count as equal: in a small buffer the number goes up and down with its games.

No pickle anywhere. Owned by the learner's service; nothing else writes there.
"""

import hashlib
import logging
import math
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import safetensors
import safetensors.numpy
from msgspec import Meta

from agent.weights import Arrays
from common.files import make_directory, sync_directory, write_synced
from common.run_files import MANIFEST_FILE
from learner.state import RandomState, TrainerState

FORMAT = 2

_log = logging.getLogger(__name__)
_TEMPORARY = ".writing-"
_TORCH = version("torch")
_Count = Annotated[int, Meta(ge=0)]


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a checkpoint."""

    size_bytes: _Count
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What manifest.json holds."""

    format: int
    agent: str
    network: str
    """Name of the network, as in the settings."""
    step: _Count
    """Gradient steps taken."""
    version: _Count
    """Version of the latest weights published."""
    next_unit: _Count
    """Units 0 to this one (excluded) are trained."""
    transitions: _Count
    """Transitions trained on."""
    td_error: float | None
    """Exponential mean of the units' held-out TD errors; None before the first."""
    validation_loss: float | None
    """Loss on the games that are kept out of training; None where there are none yet."""
    random_state: RandomState
    torch: str
    """Version of torch that wrote it: another one may compute other bits."""
    files: dict[str, FileRecord]
    sha256: str = ""
    """Of the manifest's own JSON with this field empty, and without the next where that is 0."""
    validation_rows: _Count = 0
    """Transitions that the loss on held-out games is over; 0 in manifests of before it was kept."""


manifest_decoder = msgspec.json.Decoder(Manifest)


class CheckpointDirectory:
    """The checkpoints of one agent: the newest `keep`, and beside them the best on held-out games."""

    def __init__(self, path: Path, keep: int) -> None:
        """Use the directory `path`, made where it is missing; remove what a killed learner left half-written.

        Raises OSError or RunDirectoryError when it can't be written.
        """
        self._path, self._keep = path, keep
        make_directory(path)
        for left in path.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left)

    def save(self, state: TrainerState) -> Path:
        """Write a checkpoint, synced to disk on return, drop those no longer kept, and return its path.

        Raises OSError when the disk is full or fails; the checkpoints that were there stay as they were.
        """
        final = self._path / f"step-{state.step:09}-unit-{state.next_unit:09}"
        if self._is_whole(final):
            return final  # the same step of the same training: the same content
        temporary = self._path / f"{_TEMPORARY}{final.name}"
        try:
            self._write(temporary, state)
            if final.exists():
                shutil.rmtree(final)  # damaged, or it would have been whole
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_directory(self._path)
        self._prune()
        return final

    def load_newest(self) -> TrainerState | None:
        """Return the newest checkpoint whose hashes are right, None if there is none.

        A damaged one is passed over with a warning in the log.
        """
        for path in reversed(self._paths()):
            try:
                return _load(path)
            except _Damaged as error:
                _log.warning("checkpoint damaged", extra={"checkpoint": str(path), "why": str(error)})
        return None

    def _paths(self) -> list[Path]:
        """Return the checkpoints, the oldest first: names sort as steps and units do."""
        return sorted(self._path.glob("step-*-unit-*"))

    def _is_whole(self, path: Path) -> bool:
        try:
            _load(path)
        except _Damaged:
            return False
        return True

    def _write(self, directory: Path, state: TrainerState) -> None:
        directory.mkdir()
        files = {}
        for group, arrays in state.arrays.items():
            name = f"{group}.safetensors"
            content = safetensors.numpy.save(dict(arrays))
            write_synced(directory / name, content)
            files[name] = FileRecord(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        manifest = Manifest(
            format=FORMAT,
            agent=state.agent,
            network=state.network,
            step=state.step,
            version=state.version,
            next_unit=state.next_unit,
            transitions=state.transitions,
            td_error=state.td_error,
            validation_loss=state.validation_loss,
            validation_rows=state.validation_rows,
            random_state=state.random_state,
            torch=_TORCH,
            files=files,
        )
        manifest = msgspec.structs.replace(manifest, sha256=_own_hash(manifest))
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        write_synced(directory / MANIFEST_FILE, content + b"\n")
        sync_directory(directory)

    def _prune(self) -> None:
        older = self._paths()[: -self._keep]
        best = _best(self._paths())
        for path in older:
            if path != best:
                # Renamed first, so that no half-removed one is ever taken for a checkpoint.
                doomed = self._path / f"{_TEMPORARY}{path.name}"
                path.rename(doomed)
                shutil.rmtree(doomed)


class _Damaged(Exception):
    """A checkpoint is not whole."""


def _load(path: Path) -> TrainerState:
    manifest = _read_manifest(path)
    arrays: dict[str, Arrays] = {}
    for name, record in manifest.files.items():
        try:
            content = (path / Path(name).name).read_bytes()
        except OSError as error:
            raise _Damaged(f"{name} can't be read: {error.strerror}") from error
        if len(content) != record.size_bytes or hashlib.sha256(content).hexdigest() != record.sha256:
            raise _Damaged(f"{name} is not as it was written")
        try:
            arrays[name.removesuffix(".safetensors")] = safetensors.numpy.load(content)
        except safetensors.SafetensorError as error:
            raise _Damaged(f"{name}: {error}") from error
    if manifest.torch != _TORCH:
        _log.warning(
            "checkpoint-of-another-torch",
            extra={"checkpoint": str(path), "written_by": manifest.torch, "here": _TORCH},
        )
    return TrainerState(
        agent=manifest.agent,
        network=manifest.network,
        step=manifest.step,
        version=manifest.version,
        next_unit=manifest.next_unit,
        transitions=manifest.transitions,
        td_error=manifest.td_error,
        validation_loss=manifest.validation_loss,
        validation_rows=manifest.validation_rows,
        random_state=manifest.random_state,
        arrays=arrays,
    )


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = manifest_decoder.decode((path / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise _Damaged(f"{MANIFEST_FILE} can't be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Damaged(f"{MANIFEST_FILE}: {error}") from error
    if manifest.format != FORMAT:
        raise _Damaged(f"format {manifest.format}, this Rookery reads {FORMAT}")
    if manifest.sha256 != _own_hash(manifest):
        raise _Damaged(f"{MANIFEST_FILE} is not as it was written")
    return manifest


def _own_hash(manifest: Manifest) -> str:
    fields = msgspec.to_builtins(msgspec.structs.replace(manifest, sha256=""))
    if not manifest.validation_rows:
        del fields["validation_rows"]
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


def _best(paths: Sequence[Path]) -> Path:
    """Return the best of one or more checkpoints: see above; without losses the one with the least TD error."""
    figures = {path: _figures(path) for path in paths}
    most = max(rows for rows, _, _ in figures.values())

    def rank(path: Path) -> tuple[int, float, float]:
        rows, loss, error = figures[path]
        return 0 if 10 * rows >= 9 * most else most - rows, loss, error

    return min(paths, key=rank)


def _figures(path: Path) -> tuple[int, float, float]:
    """Return the rows of the loss on held-out games, that loss and the TD error, infinite where unknown."""
    try:
        manifest = _read_manifest(path)
    except _Damaged:
        return 0, math.inf, math.inf
    found = (manifest.validation_loss, manifest.td_error)
    loss, error = (math.inf if figure is None else figure for figure in found)
    return manifest.validation_rows, loss, error
