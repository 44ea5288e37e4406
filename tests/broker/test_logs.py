"""Logs over ZeroMQ's channels: what is kept beside the run, what is lost under way, and how the collector ends."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from broker import logs as module
from broker.logs import collect
from common import logs as shipping
from common import wire
from common.errors import OperatorError
from common.links import LogOutlet, Transport
from common.logs import spool_path
from common.messages import LogRecord
from common.settings import Settings
from tests.broker.live import LiveBroker, way_to
from tests.links.collecting import SERVICE, Collecting, Stop, process, records, say
from tests.links.collecting import shipping as shipped
from tests.until import until


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def service(run, base_port):
    def start(session: str = "5e55", transport: Transport | None = None):
        return shipped(run, transport or way_to(base_port), session)

    return start


@pytest.fixture
def collecting(run, base_port):
    def start() -> Collecting:
        return Collecting(run, way_to(base_port))

    return start


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "REPORT_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "QUIET_S", 0.15)


def test_records_wait_while_no_collector_listens_and_are_sent_when_one_comes(run, base_port, service, collecting):
    with LiveBroker(base_port), service():
        say(5)
        until(spool_path(run, SERVICE).exists)
        with collecting():
            until(lambda: len(records(run)) == 5)
            say(2)
            until(lambda: len(records(run)) == 7)
        until(lambda: logged_and_kept(run))
    with spool_path(run, SERVICE).open("rb") as file:
        kept = {wire.decode(frame, LogRecord).number for frame in shipping._read_frames(file)}
    assert kept
    with LiveBroker(base_port), service(session="next"), collecting():
        until(lambda: kept <= set(records(run)))
        say(1)
        until(lambda: records(run, "next") == [0])
    assert not spool_path(run, SERVICE).exists()


def test_after_a_broker_was_started_anew_records_flow_again_and_what_was_under_way_is_counted(
    run, base_port, service, collecting
):
    with collecting(), service():
        with LiveBroker(base_port):
            say(3)
            until(lambda: len(records(run)) == 3)
        until(lambda: logged_and_kept(run))
        with LiveBroker(base_port) as broker:
            until(lambda: not spool_path(run, SERVICE).exists())
            say(1)
            until(lambda: collectors_missing(broker) == [max(records(run)) + 1 - len(records(run))])
    assert len(records(run)) > 4


def logged_and_kept(run: Path) -> bool:
    """Log something; true once such a record had to be kept."""
    say(1)
    return spool_path(run, SERVICE).exists()


class LaterOutlet:
    """An outlet that has room for nothing at first, once it is told so."""

    def __init__(self, outlet: LogOutlet) -> None:
        self._outlet = outlet
        self.refused = 0
        self.to_refuse = 0

    def ready(self) -> bool:
        return self._outlet.ready()

    def send(self, frame: bytes) -> bool:
        if self.refused < self.to_refuse:
            self.refused += 1
            return False
        return self._outlet.send(frame)

    def close(self) -> None:
        self._outlet.close()


def test_what_the_sockets_queue_had_no_room_for_is_sent_once_there_is(run, base_port, service, collecting):
    made = []

    def log_outlet() -> LaterOutlet:
        made.append(LaterOutlet(way_to(base_port).log_outlet()))
        return made[-1]

    with LiveBroker(base_port), collecting(), service(transport=SimpleNamespace(log_outlet=log_outlet)):
        say(1)
        until(lambda: records(run) == [0])
        made[-1].to_refuse = 3
        say(4)
        until(lambda: len(records(run)) == 5)
    assert made[-1].refused == 3
    assert records(run) == [0, 1, 2, 3, 4]


def test_a_queue_that_is_full_leaves_a_gap_that_is_told(run, base_port, service, collecting, capfd):
    with LiveBroker(base_port) as broker, collecting(), service() as handler:
        say(1)
        until(lambda: records(run) == [0])
        handler._number += 3  # as if three had found the queue full
        say(1)
        until(lambda: records(run) == [0, 4])
        until(lambda: collectors_missing(broker) == [3])
    assert "rookery-logs: 3 records of actor-0.5e55 are missing" in capfd.readouterr().err


def test_a_collector_that_is_started_anew_takes_up_where_the_other_was(run, base_port, service, collecting):
    with LiveBroker(base_port) as broker, service():
        with collecting():
            say(5)
            until(lambda: records(run) == [0, 1, 2, 3, 4])
        with collecting():
            until(lambda: logged_and_arrived(run))
            until(lambda: collectors_missing(broker) == [max(records(run)) + 1 - len(records(run))])
    assert len(records(run)) == len(set(records(run)))
    assert records(run)[:5] == [0, 1, 2, 3, 4]


def logged_and_arrived(run: Path) -> bool:
    """Log something; true once more than before has arrived."""
    say(1)
    return len(records(run)) > 5


def collectors_missing(broker: LiveBroker) -> list[int]:
    """What the collector says is missing."""
    services = list(broker.router.desk.registry.by_name.values())
    return [service.collector.missing for service in services if service.collector]


def test_told_to_stop_the_collector_stops_though_records_keep_coming(
    run, base_port, service, collecting, monkeypatch
):
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    monkeypatch.setattr(module, "QUIET_S", 5.0)
    with LiveBroker(base_port), service(), collecting() as collector:
        say(1)
        until(lambda: records(run) == [0])
        collector.stop.told = True
        until(lambda: collector.ended, lambda: say(1))


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path, base_port):
    (tmp_path / "file").write_text("")
    settings = Settings(run=str(tmp_path / "file"), base_port=base_port)
    with pytest.raises(OperatorError, match=r"^can't write logs to .*/file/logs: Not a directory; check --run$"):
        collect(settings, process(settings, way_to(base_port), Stop()), None)
