"""From a log call to the collector's file: every record once, or counted as missing."""

from pathlib import Path

import pytest

from broker import logs as module
from common.errors import Refused
from common.keys import KeyHolder
from common.links import OperatorLink
from common.logs import Spool, spool_path
from common.messages import Role
from tests.links.collecting import COLLECTOR, SERVICE, Collecting, records, say, shipping
from tests.links.peers import services
from tests.until import until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "REPORT_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "QUIET_S", 0.15)


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def service(site, run):
    """Starts a service of the name SERVICE."""

    def start(session: str = "5e55"):
        return shipping(run, site.transport(KeyHolder(Role.ACTOR, SERVICE)), session)

    return start


@pytest.fixture
def collecting(site, run):
    """Starts a collector, of the same run directory unless another one is given."""

    def start(directory: Path = run) -> Collecting:
        return Collecting(directory, site.transport(COLLECTOR))

    return start


def all_said(run: Path) -> bool:
    """Say something more; whether the file holds more than it did."""
    before = len(records(run))
    say(1)
    return len(records(run)) > before


def accounted_for(run: Path, operator: OperatorLink) -> bool:
    """Whether the collector misses just what is not in its file, below the last that is."""
    collector = services(operator)["logs"].collector
    there = records(run)
    return collector is not None and collector.missing == max(there) + 1 - len(there)


def test_every_record_comes_to_the_collectors_file_in_order(run, broker, service, collecting):
    with collecting(), service():
        say(3000)
        until(lambda: len(records(run)) == 3000)
    assert records(run) == list(range(3000))


def test_records_made_while_no_collector_is_there_come_once_one_is(run, broker, service, collecting):
    with service():
        say(5)
        with collecting():
            until(lambda: len(records(run)) == 5)
            say(2)
            until(lambda: len(records(run)) == 7)
        assert records(run) == list(range(7))


def test_records_made_while_there_is_no_broker_come_later_also_by_another_process(site, run, service, collecting):
    with service(session="first"):
        say(4)
    with site.broker(), collecting(), service(session="second"):
        until(lambda: records(run, "first") == [0, 1, 2, 3])
        say(1)
        until(lambda: records(run, "second") == [0])


def test_after_a_broker_was_started_anew_records_flow_again_and_the_lost_are_counted(
    site, run, service, collecting, operator
):
    with collecting(), service():
        with site.broker():
            say(3)
            until(lambda: len(records(run)) == 3)
        say(20)
        with site.broker():
            until(lambda: all_said(run))
            until(lambda: "logs" in services(operator))
            until(lambda: accounted_for(run, operator))
    assert len(records(run)) > 4
    assert len(records(run)) == len(set(records(run)))


def test_a_collector_that_is_started_anew_takes_up_where_the_other_was(run, broker, service, collecting, operator):
    with service():
        with collecting():
            say(5)
            until(lambda: records(run) == [0, 1, 2, 3, 4])
        say(20)
        with collecting():
            until(lambda: all_said(run))
            until(lambda: accounted_for(run, operator))
    assert len(records(run)) == len(set(records(run)))
    assert records(run)[:5] == [0, 1, 2, 3, 4]


def test_a_second_collector_of_the_name_goes_on_and_the_first_says_why(run, broker, collecting, operator):
    with collecting() as first:
        until(lambda: operator.status(5.0).services)
        with collecting(run / "other"):
            first.join()
    assert isinstance(first.error, Refused)
    assert "the newer one goes on" in str(first.error)


def test_a_spool_of_nonsense_is_sent_once_and_hurts_nobody(run, broker, service, collecting):
    Spool(spool_path(run, SERVICE)).extend([b"\xc1 nonsense", b""])
    with collecting(), service():
        say(1)
        until(lambda: records(run) == [0])


def test_what_the_collector_reports_is_in_the_status(run, broker, service, collecting, operator):
    def reported() -> bool:
        found = services(operator).get("logs")
        return found is not None and found.collector is not None and found.collector.records == 3

    with collecting(), service():
        say(3)
        until(reported)
        assert services(operator)["logs"].state == "collecting"
