from logging import getLogger

import pytest

from common.trouble import Trouble


def test_trouble_is_told_at_once_then_when_its_count_doubles_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    trouble = Trouble(getLogger("test"), "not stored", "stored again")
    trouble.over()
    for _ in range(9):
        trouble.again("the disk is full")
    trouble.over()
    trouble.over()
    trouble.again("the disk is full")
    told = [(record.getMessage(), getattr(record, "count", None)) for record in caplog.records]
    failed = [("not stored", count) for count in (1, 2, 4, 8)]
    assert told == [*failed, ("stored again", None), ("not stored", 1)]
    assert caplog.records[0].reason == "the disk is full"
    assert caplog.records[4].failures == 9
