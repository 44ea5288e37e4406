import resource
import time

import pytest

from actor.games import MAX_PLIES, read_games
from actor.mainline import start_of
from tests.actor.oracle import raw_games
from tests.torture.hostile_games import SIZE, monsters

MONSTERS = {name: text for name, text in monsters().items() if len(text) <= 1 << 20}
SHUFFLE = "Nf3 Nf6 Ng1 Ng8 "


def test_monstrous_games_are_read_or_rejected_in_good_time_and_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun_s = time.process_time()
    for text in MONSTERS.values():
        games, rejections = read_games(raw_games([text]), comments=True)
        assert len(games) + len(rejections) == 1
        for rejection in rejections:
            assert rejection.detail
            assert "\n" not in rejection.detail
    assert time.process_time() - begun_s < 60.0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 300 * 1024  # KiB


@pytest.mark.parametrize("blanks", [10_000, SIZE])
def test_a_tag_of_blanks_takes_no_time(blanks):
    begun_s = time.process_time()
    for text in (b"[" + b" " * blanks + b"]", b"[a" + b" " * blanks + b'"' + b" " * blanks + b"]x"):
        assert not read_games(raw_games([text[: 1 << 20]]), comments=False)[0]
    assert time.process_time() - begun_s < 10.0


def test_games_that_are_too_long_leave_nothing_of_themselves_in_memory():
    long = (SHUFFLE * (MAX_PLIES // 4 + 1) + "*").encode()
    games, rejections = read_games(raw_games([b"1. e4 e5 *", long, b"1. d4 *", b"1. c4 *"]), comments=True)
    assert [len(game) for game in games] == [2, 1, 1]
    assert [rejection.reason.value for rejection in rejections] == ["too-large"]
    for game in games:
        assert game.positions.boards.base is None
        assert game.actions.base is None


def test_a_unit_of_many_large_games_is_read_in_little_memory():
    text = (SHUFFLE * (SIZE // len(SHUFFLE)) + "*").encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    games, rejections = read_games(raw_games([text] * 8 + [b"1. e4 *"]), comments=False)
    assert (len(games), len(rejections)) == (1, 8)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 150 * 1024  # KiB


def test_a_position_beyond_all_measure_is_not_looked_at():
    fault = start_of({"FEN": "4" * SIZE})
    assert fault.reason.value == "bad-position"
    assert fault.detail == f"the FEN tag has {SIZE} characters"
