import json

from common.log_lines import decode_line, encode_line
from tests.watch.log_files import line
from watch import log_ring
from watch.log_ring import LogQuery, LogRing, json_list


def ring(count: int = 10, **limits: int) -> LogRing:
    made = LogRing(**limits)
    for number in range(count):
        level = "ERROR" if number % 5 == 0 else "INFO"
        made.take(line(number, source=f"actor-{number % 2}.5e55", level=level, fields={"unit": number}))
    return made


def ids(made: LogRing, **query: object) -> list[int]:
    return [record.number for record in made.find(LogQuery(**query)).records]


def test_the_newest_come_first_and_pages_follow_each_other() -> None:
    made = ring(10)
    assert ids(made, limit=4) == [10, 9, 8, 7]
    assert ids(made, limit=4, before=7) == [6, 5, 4, 3]
    assert ids(made, limit=4, before=3) == [2, 1]
    assert ids(made, before=1) == []
    assert ids(made, before=10**9, limit=1) == [10]


def test_records_are_found_by_level_service_and_text_in_any_case() -> None:
    made = ring(10)
    assert ids(made, severity=17) == [6, 1]
    assert ids(made, services=frozenset({"actor-1"})) == [10, 8, 6, 4, 2]
    assert ids(made, services=frozenset({"actor-1", "actor-0"}), severity=17) == [6, 1]
    assert ids(made, text="UNIT=7") == [8]
    assert ids(made, text="said", limit=2) == [10, 9]
    assert ids(made, text="SeverityText") == []  # a name of the format says nothing


def test_text_that_json_escapes_and_text_beyond_ascii_is_found() -> None:
    made = LogRing()
    made.take(line(0, event='a "quoted" word\n', fields={"file": "Größe.pgn"}))
    for text in ('"QUOTED"', "größe", "GRÖSSE", "word\n"):
        assert ids(made, text=text) == [1]


def test_what_is_held_is_bounded_by_number_and_by_bytes() -> None:
    made = ring(500, max_records=100)
    assert len(made) == 100
    assert ids(made, limit=1000) == list(range(500, 400, -1))
    assert ids(made, before=450, limit=2) == [449, 448]
    small = ring(500, max_bytes=10_000)
    assert small.size_bytes <= 10_000
    assert 0 < len(small) < 50
    assert small.by_severity["INFO"] == 400


def test_records_are_handed_out_as_they_stand_in_the_file() -> None:
    made, said = LogRing(), line(3, fields={"unit": 3})
    made.take(said, encode_line(said))
    made.take(said)
    found = json.loads(json_list(made.find(LogQuery()).records))
    assert [record.pop("id") for record in found] == [2, 1]
    assert found[0] == found[1]
    assert decode_line(json.dumps(found[0]).encode()) == said
    assert made.services() == ["actor-0"]


def test_an_answer_is_bounded_in_bytes_and_says_whether_there_are_more(monkeypatch) -> None:
    made = ring(10)
    assert not made.find(LogQuery(limit=10)).more
    assert made.find(LogQuery(limit=9)).more
    monkeypatch.setattr(log_ring, "MAX_PAGE_BYTES", 1000)
    found = made.find(LogQuery(limit=10))
    assert (0 < len(found.records) < 10, found.more) == (True, True)
    assert sum(len(record.text) for record in found.records) <= 1000
    monkeypatch.setattr(log_ring, "MAX_PAGE_BYTES", 1)
    assert [record.number for record in made.find(LogQuery()).records] == [10]
