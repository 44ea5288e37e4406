"""Where `rookery top` looks: a broker that comes and goes, and log files that may be elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from common.errors import BrokerUnreachable
from common.log_lines import LOG_FILE, encode_line
from common.messages import Action, Status
from tests.watch.log_files import line
from tests.watch.statuses import actor, status
from watch.curves import EVENT
from watch.top_source import LiveSource


class Broker:
    """An operator's link to a broker that says what a test tells it to."""

    def __init__(self) -> None:
        self.says: Status | None = None
        self.closed = 0
        self.ordered: list[tuple[str, Sequence[str]]] = []

    def status(self, timeout_s: float) -> Status:
        if self.says is None:
            raise BrokerUnreachable("no broker answers")
        return self.says

    def command(self, action: str, names: Sequence[str], timeout_s: float) -> tuple[list[str], list[str]]:
        self.ordered.append((action, names))
        return [name for name in names if name != "gone"], [name for name in names if name == "gone"]

    def close(self) -> None:
        self.closed += 1


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(broker: Broker, clock: Clock, tmp_path: Path) -> LiveSource:
    return LiveSource(lambda: broker, tmp_path / "logs", clock=clock)


def interval(step: int, loss: float):
    fields = {"agent": "white", "step": step, "q_loss": loss, "first_unit": step, "last_unit": step}
    return line(step, source="learner-white.s", event=EVENT, fields=fields)


def test_rates_come_of_two_answers_and_are_none_while_the_broker_is_away(source, broker, clock):
    broker.says = status([actor(0, positions=0)])
    assert source.look().pace.rates.positions_per_s == 0
    clock.now_s += 2.0
    broker.says = status([actor(0, positions=500)])
    seen = source.look()
    assert seen.pace.rates.actors["actor-0"].positions_per_s == 250.0
    assert (seen.pace.done, seen.trouble) == (0.4, "")
    broker.says = None
    clock.now_s += 5.0
    away = source.look()
    assert (away.trouble, away.age_s, away.status) == ("no broker answers", 5.0, seen.status)
    assert away.pace.rates.positions_per_s == 0
    broker.says = status([actor(0, positions=600)])
    assert source.look().trouble == ""


def test_without_log_files_the_curves_begin_with_what_learners_report(source, broker):
    broker.says = status()
    assert source.lines() == []
    assert "rookery.jsonl on this host" in source.absent
    points = source.look().curves["white"]
    assert [(point["step"], point["q_loss"]) for point in points] == [(1000, 0.0412)]
    assert source.look().curves["white"] == points  # the same step again


def test_log_files_that_come_later_are_read_with_the_curves_in_them(source, broker, tmp_path):
    assert source.lines() == []
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs" / LOG_FILE
    said = [interval(1, 0.5), line(0, event="joined"), interval(2, 0.4)]
    file.write_bytes(b"".join(encode_line(one) + b"\n" for one in said) + b"half a li")
    assert [one.event for one in source.lines()] == [EVENT, "joined", EVENT]
    assert source.absent == ""
    assert [point["q_loss"] for point in source.look().curves["white"]] == [0.5, 0.4]
    with file.open("ab") as more:
        more.write(b"ne\n" + encode_line(interval(3, 0.3)) + b"\n")
    assert len(source.lines()) == 1
    assert [point["q_loss"] for point in source.look().curves["white"]] == [0.5, 0.4, 0.3]


def test_an_order_says_whom_it_went_to_and_leaves_no_link_open(source, broker):
    assert source.order(Action.PAUSE, ["actor-0", "gone"]) == "pause: actor-0; not connected: gone"
    assert source.order(Action.RESUME, []) == "resume: no actors"
    assert broker.ordered == [("pause", ["actor-0", "gone"]), ("resume", [])]
    assert broker.closed == 2
