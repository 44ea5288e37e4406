from datetime import UTC, datetime, timedelta

import pytest

from common.log_lines import encode_line
from tests.watch.log_files import line
from watch.log_query import LogQuery, moment

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
START = datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("2026-11-22T11:00:00Z", timedelta(hours=1)),
        ("2026-11-22T12:00:00+02:00", timedelta(hours=2)),
        ("2026-11-22 11:30", timedelta(minutes=30)),  # UTC, as the lines show it
        ("2026-11-22", timedelta(hours=12)),
    ],
)
def test_times_are_relative_or_iso(text, ago):
    assert moment(text, NOW) == NOW - ago


@pytest.mark.parametrize("text", ["", "yesterday", "10 m", "-5m", "1e3s", "999999999w", "2026-13-01"])
def test_what_is_no_time_is_told_what_can_be(text):
    with pytest.raises(ValueError, match="is no time: 10m, 2h or 3d ago, or ISO 8601"):
        moment(text, NOW)


MATCHING = line(
    5, level="WARNING", event="game rejected", error="Traceback\n  Deep inside",
    fields={"unit": 3, "game": 50, "agent": "white", "reason": "Illegal move"},
)  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"since": START + timedelta(seconds=5)},
        {"until": START + timedelta(seconds=5.1)},
        {"least": 13},
        {"services": ("actor-0",)},
        {"services": ("learner-*", "actor-?")},
        {"game": 50},
        {"unit": 3},
        {"agent": "white"},
        {"text": "REJECTED"},
        {"text": "illegal"},
        {"text": "reason=ill"},
        {"text": "deep"},
        {"unit": 3, "game": 50, "least": 9, "text": "game"},
    ],
)
def test_a_line_that_is_all_that_is_asked_for_matches(asked):
    query = LogQuery(**asked)
    assert query.matches(MATCHING)
    glance = query.glance()
    assert glance is None or glance(encode_line(MATCHING))


@pytest.mark.parametrize(
    "asked",
    [
        {"since": START + timedelta(seconds=5.1)},
        {"until": START + timedelta(seconds=5)},
        {"least": 17},
        {"services": ("actor",)},
        {"game": 5},
        {"unit": 30},
        {"agent": "black"},
        {"text": "accepted"},
        {"unit": 3, "game": 51},
    ],
)
def test_a_line_that_lacks_one_thing_does_not(asked):
    assert not LogQuery(**asked).matches(MATCHING)


def test_an_agents_lines_are_its_learners_too():
    assert LogQuery(agent="white").matches(line(0, source="learner-white.1"))
    assert not LogQuery(agent="black").matches(line(0, source="learner-white.1"))


@pytest.mark.parametrize("asked", [{"unit": 4}, {"game": 5}, {"game": 50, "unit": 33}])
def test_a_glance_tells_most_lines_that_are_not_asked_for(asked):
    glance = LogQuery(**asked).glance()
    assert glance is not None
    assert not glance(encode_line(MATCHING))
