import io
import logging
import os
import sys
import threading
from enum import StrEnum

import numpy as np
import pytest

from common import logs, wire
from common.keys import BROKER
from common.logs import (
    JournalFormatter,
    LineFormatter,
    Logging,
    ShippingHandler,
    Spool,
    console_formatter,
    fields_of,
    message_of,
    spool_path,
)
from common.messages import LogRecord
from common.security import reach
from common.settings import Settings
from tests.until import until


class Colour(StrEnum):
    RED = "red"


def made(message: str = "event", level: int = logging.INFO, error: bool = False, **extra) -> logging.LogRecord:
    record = logging.LogRecord("actor.service", level, "file.py", 1, message, None, None)
    if error:
        try:
            raise ValueError("oh")
        except ValueError:
            record.exc_info = sys.exc_info()
    record.__dict__.update(extra)
    return record


def carried(record: logging.LogRecord) -> LogRecord:
    """What a collector gets of a record."""
    return wire.decode(wire.encode(message_of(record, "actor-0.5e55", 3)), LogRecord)


# A record as a message


def test_a_record_is_carried_with_its_fields_and_its_number():
    message = carried(made("lease granted", unit=3, share=0.5, ok=True, why=None, path=spool_path))
    assert (message.source, message.number, message.level) == ("actor-0.5e55", 3, "INFO")
    assert (message.logger, message.event, message.error) == ("actor.service", "lease granted", None)
    assert message.fields == {"unit": 3, "share": 0.5, "ok": True, "why": None, "path": str(spool_path)}


def test_a_traceback_is_carried():
    assert "ValueError: oh" in carried(made(error=True)).error


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (5, "DEBUG"),
        (10, "DEBUG"),
        (15, "DEBUG"),
        (20, "INFO"),
        (25, "INFO"),
        (30, "WARNING"),
        (45, "ERROR"),
        (99, "CRITICAL"),
    ],
)
def test_a_level_of_somebody_elses_is_carried_as_the_one_below(level, name):
    logging.addLevelName(25, "NOTICE")
    assert carried(made(level=level)).level == name


@pytest.mark.parametrize(
    "value",
    [
        2**200,
        -(2**70),
        np.float64(0.5),
        np.float32(0.5),
        np.int64(3),
        "caf\udce9.pgn",
        b"\xff",
        {1},
        Colour.RED,
        "x" * 10**6,
    ],
)
def test_whatever_is_given_as_a_field_can_be_carried(value):
    assert "field" in carried(made(field=value)).fields


def test_texts_without_end_are_cut():
    message = carried(made("e" * 10**6 + "\udce9", field="f" * 10**6))
    assert (len(message.event), len(message.fields["field"])) == (65536, 8192)
    assert len(carried(made("\udce9" * 70_000)).event) == 65536


def test_many_large_fields_still_make_an_envelope_within_the_limit():
    big = "\U0001f600" * 10**5
    assert (
        len(wire.encode(message_of(made(big, error=True, **{f"f{n}": big for n in range(10)}), "a.1", 0)))
        < wire.MAX_ENVELOPE_BYTES
    )


# Lines


def test_a_line_tells_who_and_what():
    line = LineFormatter("actor-0").format(
        made("lease granted", unit=3, share=0.123456, why="no more", level=logging.WARNING)
    )
    assert line[8:] == " WARNING actor-0: lease granted unit=3 share=0.1235 why='no more'"
    assert LineFormatter("a").format(made(error=True)).endswith("ValueError: oh")


@pytest.mark.parametrize(
    ("level", "priority"), [("CRITICAL", 2), ("ERROR", 3), ("WARNING", 4), ("INFO", 6), ("DEBUG", 7)]
)
def test_a_line_for_the_journal_has_its_priority_and_neither_time_nor_service(level: str, priority: int):
    line = JournalFormatter("actor-0").format(made("lease granted", logging.getLevelNamesMapping()[level], unit=3))
    assert line == f"<{priority}>lease granted unit=3"


def test_every_line_of_a_traceback_has_its_priority():
    lines = JournalFormatter("a").format(made(level=logging.ERROR, error=True)).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_the_journal_is_known_by_the_file_that_systemd_names(tmp_path):
    with (tmp_path / "journal").open("w") as stream, (tmp_path / "other").open("w") as other:
        file = os.fstat(stream.fileno())
        environment = {"JOURNAL_STREAM": f"{file.st_dev}:{file.st_ino}"}
        assert isinstance(console_formatter(stream, "a", environment), JournalFormatter)
        assert not isinstance(console_formatter(other, "a", environment), JournalFormatter)
        assert not isinstance(console_formatter(stream, "a", {}), JournalFormatter)
    assert not isinstance(console_formatter(io.StringIO(), "a", environment), JournalFormatter)


def test_what_logging_itself_puts_into_a_record_is_no_field():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter("a"))
    record = made("event", task=1, error=True)
    handler.handle(record)
    assert fields_of(record) == {"task": 1}


# The spool


def test_what_was_kept_is_taken_once_and_by_a_later_one_too(tmp_path):
    spool = Spool(tmp_path / "logs/spool/actor-0")
    assert spool.empty
    spool.extend([b"one", b"two"])
    spool.extend([b""])
    assert not spool.empty
    later = Spool(tmp_path / "logs/spool/actor-0")
    assert not later.empty
    assert later.take() == [b"one", b"two", b""]
    assert later.empty
    assert later.take() == []
    assert Spool(tmp_path / "logs/spool/actor-0").empty


def test_a_spool_is_bounded_and_counts_what_it_drops(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "SPOOL_LIMIT_BYTES", 100)
    spool = Spool(tmp_path / "spool")
    spool.extend([b"x" * 40] * 5)
    spool.extend([b"x" * 40])
    assert (len(spool.take()), spool.dropped) == (2, 4)
    assert (tmp_path / "spool").exists() is False


def test_spans_crowd_no_record_out_of_a_spool_also_after_a_new_start(tmp_path, monkeypatch):
    def frames(logger, count):
        named = {"source": "a.1", "time_ns": 1, "level": "INFO", "event": "x"}
        return [wire.encode(LogRecord(number=number, logger=logger, **named)) for number in range(count)]

    def kept(spool):
        loggers = [wire.decode(frame, LogRecord).logger for frame in spool.take()]
        return loggers.count("trace"), loggers.count("actor")

    size = len(frames("trace", 1)[0]) + 4  # the same for a logger with as long a name
    monkeypatch.setattr(logs, "SPOOL_LIMIT_BYTES", 20 * size)
    spool = Spool(tmp_path / "spool")
    spool.extend(frames("trace", 3))
    spool = Spool(tmp_path / "spool")
    spool.extend(frames("trace", 30) + frames("actor", 10) + frames("trace", 2))
    spool.extend(frames("actor", 10))
    assert spool.dropped == 30 + 5
    assert kept(spool) == (5, 15)
    spool.extend(frames("trace", 4))
    assert kept(spool) == (4, 0)


def test_a_record_that_was_cut_off_is_left_out(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.extend([b"one", b"two"])
    path = tmp_path / "spool"
    path.write_bytes(path.read_bytes()[:-1])
    assert spool.take() == [b"one"]
    path.write_bytes(b"\xff\xff\xff\xffjunk")
    assert spool.take() == []


def test_a_spool_that_cannot_be_written_costs_records_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "spool")
    spool.extend([b"one", b"two"])
    assert (spool.dropped, spool.take()) == (2, [])


def test_half_a_record_is_never_left_by_a_full_disk(tmp_path, monkeypatch):
    spool = Spool(tmp_path / "spool")
    spool.extend([b"one"])
    write = os.write

    def full(descriptor, content):
        if len(content) < 5:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[:5])

    with monkeypatch.context() as patched:
        patched.setattr("os.write", full)
        spool.extend([b"two"])
    assert spool.dropped == 1
    spool.extend([b"three"])
    assert spool.take() == [b"one", b"three"]


# Setting up and taking down


def test_without_a_broker_every_record_is_kept_numbered_from_0(tmp_path, transport):
    path = spool_path(tmp_path, "actor-0")
    with Logging(
        service="actor-0",
        session="5e55",
        level="info",
        transport=transport,
        spool=path,
        console=False,
    ):
        for unit in range(3):
            logging.getLogger("actor").info("lease granted", extra={"unit": unit})
        logging.getLogger("actor").debug("not logged")
    kept = [wire.decode(frame, LogRecord) for frame in Spool(path).take()]
    assert [(record.number, record.fields) for record in kept] == [(n, {"unit": n}) for n in range(3)]
    assert {record.source for record in kept} == {"actor-0.5e55"}


def test_an_address_that_is_none_costs_no_record(tmp_path):
    path = spool_path(tmp_path, "actor-0")
    nowhere = reach(Settings(broker="a b", insecure=True), BROKER)
    with Logging(service="actor-0", session="1", level="info", transport=nowhere, spool=path, console=False):
        logging.getLogger("actor").info("started")
    assert len(Spool(path).take()) == 1


class Outlet:
    """An outlet whose listener comes and goes, and whose way can be full, as a test says."""

    def __init__(self) -> None:
        self.listened, self.full = threading.Event(), threading.Event()
        self.sent: list[bytes] = []
        self.closed = threading.Event()
        self.threads: set[int] = set()

    def ready(self) -> bool:
        self.threads.add(threading.get_ident())
        return self.listened.is_set()

    def send(self, frame: bytes) -> bool:
        assert self.listened.is_set()
        if not self.full.is_set():
            self.sent.append(frame)
        return not self.full.is_set()

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed.set()


def test_records_are_kept_while_the_outlet_takes_none_and_then_sent_in_their_order_each_once(tmp_path):
    outlet, spool = Outlet(), tmp_path / "spool"
    handler = ShippingHandler(lambda: outlet, "actor-0.1", spool)
    handler.handle(made("zero"))
    until(spool.exists)
    outlet.listened.set()
    until(lambda: len(outlet.sent) == 1)
    outlet.full.set()
    for event in ("one", "two"):
        handler.handle(made(event))
    until(spool.exists)
    outlet.full.clear()
    handler.handle(made("three"))
    handler.close()
    assert [wire.decode(frame, LogRecord).event for frame in outlet.sent] == ["zero", "one", "two", "three"]
    assert not spool.exists()


def test_an_outlet_is_made_used_and_closed_in_the_logging_thread_alone(tmp_path):
    outlet = Outlet()
    makers = []
    handler = ShippingHandler(lambda: makers.append(threading.get_ident()) or outlet, "a.1", tmp_path / "spool")
    handler.handle(made())
    handler.close()
    assert outlet.closed.is_set()
    assert set(makers) == outlet.threads != {threading.get_ident()}


def test_handlers_are_gone_after_the_service(tmp_path):
    before = list(logging.getLogger().handlers)
    with Logging(service="a", session="1", level="info", transport=None, spool=tmp_path / "spool"):
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before


def test_the_console_gets_lines(tmp_path, capsys):
    with Logging(service="actor-0", session="1", level="warning", transport=None, spool=tmp_path / "spool"):
        logging.getLogger("actor").warning("engine died", extra={"game": 7})
        logging.getLogger("actor").info("quiet")
    assert capsys.readouterr().err.rstrip().endswith("WARNING actor-0: engine died game=7")
