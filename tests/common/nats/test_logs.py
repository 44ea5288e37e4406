"""Log records on NATS: from the outlet by the stream to the collector's link."""

import time

import pytest

from common import wire
from common.errors import Refused
from common.keys import KeyHolder
from common.messages import CollectorReport, Goodbye, Hello, LogRecord, Role
from tests.common.nats.scripted import ScriptedBroker, transport_to
from tests.links.peers import Collector
from tests.until import until

SOURCE = "actor-0.5e55"


def record(number: int, source: str = SOURCE, event: str = "counted") -> LogRecord:
    return LogRecord(source=source, number=number, time_ns=1, level="INFO", logger="x", event=event)


@pytest.fixture
def broker(shared, names):
    with ScriptedBroker(shared.address, names, redelivery_s=1.0) as made:
        yield made


@pytest.fixture
def outlet(shared, names, closing):
    def start(name: str = "actor-0", address: str = ""):
        return closing(transport_to(address or shared.address, names, "actor", name).log_outlet())

    return start


@pytest.fixture
def collector(shared, names, closing):
    def start(name: str = "logs") -> Collector:
        return closing(Collector(transport_to(shared.address, names, "collector", name), name))

    return start


def ship(outlet, *records: LogRecord) -> None:
    until(outlet.ready)
    for each in records:
        until(lambda each=each: outlet.send(wire.encode(each)))


def numbers(collector: Collector) -> list[int]:
    return [each.number for each in collector.records]


def kept(broker: ScriptedBroker) -> int:
    found: int = broker.do(broker.connection.api(f"STREAM.INFO.{broker.names.logs_stream}"))["state"]["messages"]
    return found


def waiting(broker: ScriptedBroker) -> int:
    """Records that no collector has taken for good."""
    about = broker.consumer(broker.names.logs_stream, "collector")
    found: int = about["num_pending"] + about["num_ack_pending"]
    return found


# Out


def test_records_are_kept_for_a_collector_in_their_order(broker, outlet, collector):
    ship(outlet(), *(record(number) for number in range(3000)))
    until(lambda: kept(broker) == 3000)
    logs = collector()
    until(lambda: len(logs.records) == 3000, logs.poll)
    assert numbers(logs) == list(range(3000))
    assert logs.records[0] == record(0)


def test_an_outlet_is_not_ready_while_there_is_no_stream(shared, names, outlet):
    one = outlet()
    until(lambda: one._channel.connection)
    assert not one.ready()
    assert not one.send(b"x")
    with ScriptedBroker(shared.address, names):
        until(one.ready)


def test_an_outlet_is_not_ready_while_there_is_no_server_and_takes_no_more_than_it_can_keep(server, names, outlet):
    with ScriptedBroker(server.address, names) as broker:
        one = outlet(address=server.address)
        ship(one, record(0))
        server.kill()
        until(lambda: not one.ready())
        assert not one.send(b"x")
        server.start()
        ship(one, record(1))
        until(lambda: kept(broker) == 2)


def test_records_under_way_to_a_server_that_is_killed_get_there_when_it_is_back(server, names, outlet, monkeypatch):
    with ScriptedBroker(server.address, names) as broker:
        one = outlet(address=server.address)
        ship(one, record(0))
        until(lambda: kept(broker) == 1)
        import os
        import signal

        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        ship(one, *(record(number) for number in range(1, 50)))
        server.kill()
        server.start()
        until(lambda: kept(broker) == 50)


def test_more_records_than_can_be_under_way_are_not_taken(broker, outlet, monkeypatch):
    monkeypatch.setattr("common.nats.log_outlet.MAX_RECORDS", 3)
    one = outlet()
    until(one.ready)
    monkeypatch.setattr(one, "_add", lambda number: None)  # so that none goes out
    assert [one.send(b"x") for _ in range(5)] == [True, True, True, False, False]


def test_what_was_taken_before_the_end_is_kept(broker, outlet):
    one = outlet()
    ship(one, *(record(number) for number in range(500)))
    one.close()
    assert kept(broker) == 500


def test_an_outlet_ends_soon_though_there_is_no_server(server, names, outlet):
    with ScriptedBroker(server.address, names):
        one = outlet(address=server.address)
        ship(one, record(0))
    server.kill()
    begun_s = time.monotonic()
    one.close()
    assert time.monotonic() - begun_s < 4.0


def test_a_record_that_is_too_long_for_the_server_hurts_no_other(broker, outlet):
    one = outlet()
    until(one.ready)
    assert one.send(b"x" * (2**20 + 1))
    ship(one, record(0))
    until(lambda: kept(broker) == 1)
    until(lambda: not one._records)


# In


def test_a_collector_is_welcome_and_its_report_gets_to_the_broker(broker, collector):
    logs = collector()
    until(lambda: logs.link._control._told_welcome, logs.poll)
    logs.link.report(7, 1)
    assert broker.wait(CollectorReport)[0] == CollectorReport(records=7, missing=1)
    assert broker.of(Hello)[0].name == "logs"
    assert broker.heard[0][0] == KeyHolder(Role.COLLECTOR, "logs")
    logs.close()
    broker.wait(Goodbye)


def test_who_is_turned_away_is_told_why_and_takes_nothing(broker, collector, outlet):
    ship(outlet(), record(0))
    broker.refusing = "the newer one goes on"
    logs = collector()
    with pytest.raises(Refused, match="the newer one goes on"):
        until(lambda: None, logs.poll)
    assert logs.records == []
    assert waiting(broker) == 1


def test_records_are_taken_for_good_with_the_report_after_them(broker, outlet, collector):
    ship(outlet(), *(record(number) for number in range(10)))
    logs = collector()
    until(lambda: len(logs.records) == 10, logs.poll)
    assert waiting(broker) == 10
    logs.link.report(10, 0)
    until(lambda: waiting(broker) == 0)


def test_what_a_collector_did_not_report_comes_to_the_next_one(broker, outlet, collector, monkeypatch):
    ship(outlet(), *(record(number) for number in range(10)))
    first = collector()
    until(lambda: len(first.records) == 10, first.poll)
    monkeypatch.setattr(first.link, "_acknowledge", lambda: None)  # it dies
    first.close()
    second = collector()
    until(lambda: len(second.records) == 10, second.poll)
    assert sorted(numbers(second)) == list(range(10))


def test_what_a_collector_has_when_it_ends_is_taken_and_the_rest_goes_to_the_next_at_once(
    shared, names, outlet, collector
):
    with ScriptedBroker(shared.address, names) as broker:  # which delivers again after 30 s by itself
        ship(outlet(), *(record(number) for number in range(10)))
        first = collector()
        until(lambda: first.records, first.poll)
        ship(outlet(), *(record(number) for number in range(10, 20)))
        until(lambda: first.link._channel.stats().events_waiting)
        first.close()
        second = collector()
        until(lambda: len(first.records) + len(second.records) == 20, second.poll)
        assert sorted(numbers(first) + numbers(second)) == list(range(20))
        second.link.report(1, 0)
        until(lambda: waiting(broker) == 0)


def test_no_more_than_so_many_records_are_here_without_a_report(broker, outlet, collector, monkeypatch):
    monkeypatch.setattr("common.nats.collector_link.MAX_RECORDS", 5)
    ship(outlet(), *(record(number) for number in range(20)))
    logs = collector()
    until(lambda: len(logs.records) == 5, logs.poll)
    for _ in range(10):
        logs.poll()
    assert len(logs.records) == 5
    seen = 5
    while seen < 20:
        logs.link.report(0, 0)
        until(lambda seen=seen: len(logs.records) == seen + 5, logs.poll)
        seen += 5
    assert numbers(logs) == list(range(20))


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1 nonsense", wire.encode(Goodbye()), wire.encode(record(0, source="actor-1.5e55"))]
)
def test_what_is_no_record_of_its_service_is_counted_and_dropped_for_good(broker, outlet, collector, frame):
    one = outlet()
    until(one.ready)
    assert one.send(frame)
    ship(one, record(3))
    logs = collector()
    until(lambda: logs.records, logs.poll)
    assert (numbers(logs), logs.link.malformed) == ([3], 1)
    logs.link.report(1, 0)
    until(lambda: waiting(broker) == 0)


def test_a_record_of_a_learner_comes_under_its_agents_name(shared, names, broker, collector, closing):
    outlet = closing(transport_to(shared.address, names, "learner", "white").log_outlet())
    ship(outlet, record(0, source="learner-white.5e55"))
    logs = collector()
    until(lambda: logs.records, logs.poll)
    assert logs.link.malformed == 0
