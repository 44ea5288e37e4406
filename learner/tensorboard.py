"""An agent's metrics as TensorBoard reads them: event files in DIR/tensorboard/AGENT, settings as hparams.

Copies what metrics.jsonl holds, line by line, for `tensorboard --logdir DIR`. Each start begins a file of its own,
which takes back what stands in those before it after the last line that was kept: so no step is there twice. Never
a reason for training to fail: what can't be written is logged and left out.

A file is a list of records (length, checksum, protocol buffer, checksum), whole ones only. They are written here,
and not by tensorboardX's writers: a full disk ends their thread, and then the caller waits for ever.
"""

import logging
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from common.settings import IDENTITY, AgentSettings, Settings
from common.trouble import Trouble
from common.whole_file import append_whole
from learner.metrics import MetricsLine

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

log = logging.getLogger(__name__)

FILE_VERSION = "brain.Event:2"
RESULTS = ("held_out/td_error", "held_out/match_top1", "validation/loss", "validation/match_top1")
"""Scalars that runs are compared by, beside their hparams."""


class EventFiles:
    """Appends the figures of intervals to an event file, made with the first of them."""

    def __init__(self, directory: Path, settings: Settings, agent: AgentSettings, last_step: int | None) -> None:
        """Go on after the gradient step `last_step`, None for a run from the start; writes nothing yet."""
        self._directory, self._settings, self._agent = directory, settings, agent
        self._first_step = 0 if last_step is None else last_step + 1
        self._path: Path | None = None
        self._ended_ns: int | None = None
        """End of the interval before."""
        self._trouble = Trouble(log, "event file not written", "event file written again")

    def write(self, line: MetricsLine) -> None:
        """Append the figures of an interval, unless the settings say no; raises nothing."""
        if not self._settings.tensorboard:
            return
        try:
            self._append(line)
        except (OSError, ImportError) as error:
            self._trouble.again(str(error))
        else:
            self._trouble.over()

    def _append(self, line: MetricsLine) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if self._path is None:
            self._path = self._begin()
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in self._scalars(line).items()]
        event = Event(wall_time=_seconds(line.time_ns), step=line.step, summary=Summary(value=values))
        _write(self._path, [event])
        self._ended_ns = line.time_ns or self._ended_ns

    def _begin(self) -> Path:
        """Begin a file: its version, from which step on it takes the place of others, and the settings."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import hparams

        now_ns = time.time_ns()
        now_s = _seconds(now_ns)
        self._directory.mkdir(parents=True, exist_ok=True)
        experiment, session, _ = hparams(_hparams(self._settings, self._agent), dict.fromkeys(RESULTS, 0.0))
        path = self._directory / f"events.out.tfevents.{now_ns // 10**9:010}.{now_ns % 10**9:09}"
        _write(
            path,
            [
                Event(wall_time=now_s, file_version=FILE_VERSION),
                Event(wall_time=now_s, step=self._first_step, session_log=SessionLog(status=SessionLog.START)),
                Event(wall_time=now_s, summary=experiment),
                Event(wall_time=now_s, summary=session),
            ],
        )
        return path

    def _scalars(self, line: MetricsLine) -> dict[str, float]:
        """Return the figures of an interval by their names, those that there are."""
        validation = line.validation
        scalars: dict[str, float | None] = {
            "held_out/td_error": line.td_error,
            "held_out/match_top1": line.match_top1,
            "held_out/match_top3": line.match_top3,
            "held_out/rank_correlation": line.rank_correlation,
            "loss/q": line.q_loss,
            "loss/value": line.value_loss,
            "loss/prior": line.prior_loss,
            "loss/gradient_norm": line.gradient_norm,
            "probes/lag": line.probe_lag_mean,
            "probes/too_old": line.probes_too_old if line.probes else None,
            "throughput/samples_per_s": self._samples_per_s(line),
            "throughput/units": line.last_unit + 1,
        }
        if validation is not None:
            scalars |= {
                "validation/loss": validation.loss,
                "validation/match_top1": validation.match_top1,
                "validation/match_top3": validation.match_top3,
            }
        return {name: value for name, value in scalars.items() if value is not None}

    def _samples_per_s(self, line: MetricsLine) -> float | None:
        """Return the samples trained on by the second since the interval before; None for a start's first."""
        if self._ended_ns is None or line.time_ns is None or not line.steps or line.time_ns <= self._ended_ns:
            return None
        return line.steps * self._settings.batch_size / _seconds(line.time_ns - self._ended_ns)


def _write(path: Path, events: "list[Event]") -> None:
    """Append events to a file, all of them or none; raises OSError."""
    with path.open("ab", buffering=0) as file:
        append_whole(file.fileno(), b"".join(_record(event.SerializeToString()) for event in events))


def _record(content: bytes) -> bytes:
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(content))
    checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, content)]
    return length + checks[0] + content + checks[1]


def _hparams(settings: Settings, agent: AgentSettings) -> Mapping[str, str | float | bool]:
    """Return the settings that decide the agent's weights, those that are set."""
    values = {name: getattr(settings, name) for name in IDENTITY if name != "agents"}
    values |= {"agent": agent.name, "side": agent.side, "where": agent.where}
    return {name: msgspec.to_builtins(value) for name, value in values.items() if value is not None}


def _seconds(time_ns: int | None) -> float:
    return (time.time_ns() if time_ns is None else time_ns) / 1e9
