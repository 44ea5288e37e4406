"""From a log call to the collector's file: real sockets, a real router, the collector's own loop in a thread."""

import logging
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker import logs as module
from broker.logs import collect
from common import logs as shipping
from common import wire
from common.errors import OperatorError, Refused, RookeryError
from common.log_lines import read_log_lines
from common.logs import Logging, Spool, spool_path
from common.messages import LogRecord
from common.notify import Notifier
from common.ports import Ports
from common.process import Process
from common.reload import Reload
from common.settings import Settings
from common.zmq_links import ZmqOperatorLink, new_session
from tests.broker.live import LiveBroker, until

log = logging.getLogger("tests.broker")


class Stop:
    """A stop signal without signals."""

    def __init__(self) -> None:
        self.told = False

    def __bool__(self) -> bool:
        return self.told


def process(settings: Settings, stop: Stop) -> Process:
    """The collector's process, without signals and systemd."""
    ports = Ports("127.0.0.1", settings.base_port)
    return Process("logs", new_session(), ports, stop, Notifier(None), Reload(settings, lambda: settings, Stop()))


class Collecting:
    """The collector's loop in a thread; a context manager."""

    def __init__(self, run: Path, base_port: int) -> None:
        self.stop = Stop()
        self.error: RookeryError | None = None
        settings = Settings(run=str(run), base_port=base_port)
        self._thread = threading.Thread(target=self._run, args=(settings,), daemon=True)

    def _run(self, settings: Settings) -> None:
        try:
            collect(settings, process(settings, self.stop), "CRITICAL")
        except RookeryError as error:
            self.error = error

    def __enter__(self) -> "Collecting":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.told = True
        self.join()

    def join(self) -> None:
        self._thread.join(10.0)
        assert not self._thread.is_alive()


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def service(run, base_port):
    @contextmanager
    def start(name: str = "actor-0", session: str = "5e55"):
        with Logging(
            service=name, session=session, level="info", ports=Ports("127.0.0.1", base_port),
            spool=spool_path(run, name), console=False,
        ) as found:  # fmt: skip
            yield found

    return start


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "REPORT_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "QUIET_S", 0.15)


@pytest.fixture(autouse=True)
def only_ours(monkeypatch):
    """The broker lives in this process, too: its records are not the service's."""
    for name in ("broker", "common"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", False)


def records(run: Path, source: str = "actor-0.5e55") -> list[int]:
    """Numbers of a source's records in the collector's file, as they stand."""
    path = run / "logs/rookery.jsonl"
    return [line.number for line in read_log_lines(path) if line.source == source and line.number is not None]


def say(count: int) -> None:
    for number in range(count):
        log.info("counted", extra={"n": number})


def test_every_record_comes_to_the_collectors_file(run, base_port, service):
    with LiveBroker(base_port), Collecting(run, base_port), service():
        say(3000)
        until(lambda: len(records(run)) == 3000)
    assert records(run) == list(range(3000))


def test_records_wait_while_no_collector_listens_and_are_sent_when_one_comes(run, base_port, service):
    with LiveBroker(base_port), service():
        say(5)
        until(spool_path(run, "actor-0").exists)
        with Collecting(run, base_port):
            until(lambda: len(records(run)) == 5)
            say(2)
            until(lambda: len(records(run)) == 7)
        until(lambda: logged_and_kept(run))
    with spool_path(run, "actor-0").open("rb") as file:
        kept = {wire.decode(frame, LogRecord).number for frame in shipping._read_frames(file)}
    assert kept
    with LiveBroker(base_port), service(session="next"), Collecting(run, base_port):
        until(lambda: kept <= set(records(run)))
        say(1)
        until(lambda: records(run, "actor-0.next") == [0])
    assert not spool_path(run, "actor-0").exists()


def test_records_made_while_there_is_no_broker_are_sent_by_a_later_process_of_the_name(run, base_port, service):
    with service(session="first"):
        say(4)
    with LiveBroker(base_port), Collecting(run, base_port), service(session="second"):
        until(lambda: records(run, "actor-0.first") == [0, 1, 2, 3])


def test_after_a_broker_was_started_anew_records_flow_again_and_what_was_under_way_is_counted(
    run, base_port, service
):
    with Collecting(run, base_port), service():
        with LiveBroker(base_port):
            say(3)
            until(lambda: len(records(run)) == 3)
        until(lambda: logged_and_kept(run))
        with LiveBroker(base_port) as broker:
            until(lambda: not spool_path(run, "actor-0").exists())
            say(1)
            until(lambda: collectors_missing(broker) == [max(records(run)) + 1 - len(records(run))])
    assert len(records(run)) > 4


def logged_and_kept(run: Path) -> bool:
    """Log something; true once such a record had to be kept."""
    say(1)
    return spool_path(run, "actor-0").exists()


def test_what_the_sockets_queue_had_no_room_for_is_sent_once_there_is(run, base_port, service, monkeypatch):
    publish, calls = shipping._publish, []

    def publish_later(socket, frame: bytes) -> bool:
        calls.append(frame)
        return len(calls) > 3 and publish(socket, frame)

    with LiveBroker(base_port), Collecting(run, base_port), service():
        say(1)
        until(lambda: records(run) == [0])
        monkeypatch.setattr(shipping, "_publish", publish_later)
        say(4)
        until(lambda: len(records(run)) == 5)
    assert len(calls) > 4


def test_a_queue_that_is_full_leaves_a_gap_that_is_told(run, base_port, service, monkeypatch, capfd):
    with LiveBroker(base_port) as broker, Collecting(run, base_port), service() as found:
        say(1)
        until(lambda: records(run) == [0])
        handler = next(h for h in found._handlers if isinstance(h, shipping.ShippingHandler))
        handler._number += 3  # as if three had found the queue full
        say(1)
        until(lambda: records(run) == [0, 4])
        until(lambda: collectors_missing(broker) == [3])
    assert "rookery-logs: 3 records of actor-0.5e55 are missing" in capfd.readouterr().err


def test_a_collector_that_is_started_anew_takes_up_where_the_other_was(run, base_port, service):
    with LiveBroker(base_port) as broker, service():
        with Collecting(run, base_port):
            say(5)
            until(lambda: records(run) == [0, 1, 2, 3, 4])
        with Collecting(run, base_port):
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
    services = list(broker.router.registry.by_name.values())
    return [service.collector.missing for service in services if service.collector]


def test_told_to_stop_the_collector_stops_though_records_keep_coming(run, base_port, service, monkeypatch):
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    monkeypatch.setattr(module, "QUIET_S", 5.0)
    with LiveBroker(base_port), service(), Collecting(run, base_port) as collecting:
        say(1)
        until(lambda: records(run) == [0])
        collecting.stop.told = True
        until(lambda: not collecting._thread.is_alive(), lambda: say(1))


def test_a_second_collector_of_the_name_goes_on_and_the_first_says_why(run, base_port):
    with LiveBroker(base_port), Collecting(run, base_port) as first:
        operator = ZmqOperatorLink(Ports("127.0.0.1", base_port))
        until(lambda: operator.status(5.0).services)
        operator.close()
        with Collecting(run / "other", base_port):
            first.join()
    assert isinstance(first.error, Refused)
    assert "the newer one goes on" in str(first.error)


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path, base_port):
    (tmp_path / "file").write_text("")
    settings = Settings(run=str(tmp_path / "file"), base_port=base_port)
    with pytest.raises(OperatorError, match=r"^can't write logs to .*/file/logs: Not a directory; check --run$"):
        collect(settings, process(settings, Stop()), None)


def test_a_spool_of_nonsense_is_sent_once_and_hurts_nobody(run, base_port, service):
    Spool(spool_path(run, "actor-0")).extend([b"\xc1 nonsense", b""])
    with LiveBroker(base_port), Collecting(run, base_port), service():
        say(1)
        until(lambda: records(run) == [0])
