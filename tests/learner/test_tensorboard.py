import errno
import logging
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from common.settings import Settings
from learner.directory import AgentDirectory
from learner.evaluation import Validation
from learner.metrics import MetricsLine
from learner.models import Losses
from learner.tensorboard import RESULTS, EventFiles
from tests.learner.units import WHITE

VALIDATION = Validation(
    transitions=5, match_top1=0.25, match_top3=0.5,
    loss=3.5, losses=Losses(q=1.0, value=2.0, prior=0.5, gradient_norm=0.0, steps=1),
)  # fmt: skip


def line(step: int, validation: Validation | None = None) -> MetricsLine:
    return MetricsLine(
        first_unit=step - 1, last_unit=step - 1, transitions=10, step=step, steps=2, td_error=0.25, match_top1=0.5,
        match_top3=0.75, rank_correlation=None, q_loss=1.0, value_loss=2.0, prior_loss=3.0, gradient_norm=4.0,
        validation=validation, time_ns=step * 10**9,
    )  # fmt: skip


def files(directory: Path, last_step: int | None = None, **values: object) -> EventFiles:
    return EventFiles(directory, Settings(**values), WHITE, last_step)


def events(directory: Path) -> Iterator[Event]:
    """All events in the order in which TensorBoard reads them."""
    for path in sorted(directory.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            size, check = struct.unpack_from("<QI", content, at)
            assert check == masked_crc32c(content[at : at + 8])
            body = content[at + 12 : at + 12 + size]
            assert struct.unpack_from("<I", content, at + 12 + size) == (masked_crc32c(body),)
            yield Event.FromString(body)
            at += 16 + size


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars as TensorBoard shows them: a start takes back all from its step on."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(directory):
        if event.session_log.status == SessionLog.START:
            for name, points in found.items():
                found[name] = [point for point in points if point[0] < event.step]
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def hparams_of(value: Summary.Value) -> HParamsPluginData:
    return HParamsPluginData.FromString(value.metadata.plugin_data.content)


def test_each_line_is_there_by_gradient_step(tmp_path: Path) -> None:
    written = files(tmp_path, batch_size=100)
    for step, validation in ((1, None), (3, VALIDATION)):
        written.write(line(step, validation))
    found = scalars(tmp_path)
    assert found["held_out/td_error"] == [(1, 0.25), (3, 0.25)]
    assert found["loss/prior"] == [(1, 3.0), (3, 3.0)]
    assert found["validation/loss"] == [(3, 3.5)]
    assert found["throughput/samples_per_s"] == [(3, 100.0)]
    assert "held_out/rank_correlation" not in found
    assert "probes/lag" not in found
    assert {*RESULTS} <= found.keys()
    assert next(events(tmp_path)).file_version == "brain.Event:2"


def test_a_resumed_run_has_no_step_twice_and_none_that_was_taken_back(tmp_path: Path) -> None:
    first = files(tmp_path)
    for step in range(1, 8):
        first.write(line(step))
    again = files(tmp_path, last_step=4)
    for step in (5, 6):
        again.write(line(step))
    assert [step for step, _ in scalars(tmp_path)["loss/q"]] == [1, 2, 3, 4, 5, 6]
    files(tmp_path).write(line(1))  # begun anew
    assert [step for step, _ in scalars(tmp_path)["loss/q"]] == [1]


def test_the_settings_are_there_as_hparams_in_the_same_folder(tmp_path: Path) -> None:
    files(tmp_path, nodes=50, network="resnet").write(line(1))
    values = {value.tag: value for event in events(tmp_path) for value in event.summary.value}
    session = hparams_of(values["_hparams_/session_start_info"]).session_start_info.hparams
    assert session["nodes"].number_value == 50
    assert (session["network"].string_value, session["agent"].string_value) == ("resnet", "white")
    experiment = HParamsPluginData.FromString(
        values["_hparams_/experiment"].metadata.plugin_data.content
    ).experiment
    assert {metric.name.tag for metric in experiment.metric_infos} == {*RESULTS}
    assert [path.is_file() for path in tmp_path.iterdir()] == [True]


def test_nothing_is_written_where_nothing_was_trained_or_it_is_not_wanted(tmp_path: Path) -> None:
    files(tmp_path / "none")
    files(tmp_path / "off", tensorboard=False).write(line(1))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_once_and_leaves_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(descriptor: int, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    written = files(tmp_path)
    written.write(line(1))
    with caplog.at_level(logging.WARNING):
        with monkeypatch.context() as patched:
            patched.setattr("learner.tensorboard.append_whole", fail)
            written.write(line(2))
        written.write(line(3))
    assert [step for step, _ in scalars(tmp_path)["loss/q"]] == [1, 3]
    assert [record.message for record in caplog.records] == ["event file not written", "event file written again"]


def test_a_directory_that_cannot_be_made_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").write_text("")
    directory = AgentDirectory.of(tmp_path, "white").tensorboard
    assert directory == tmp_path / "tensorboard" / "white"
    written = files(directory)
    for step in range(1, 4):
        written.write(msgspec.structs.replace(line(step), time_ns=None))
    assert {record.message for record in caplog.records} == {"event file not written"}
