import resource
import time
from pathlib import Path

from broker.sources import games
from broker.splitter import LineBlock, split
from tests.torture.hostile_games import bombs, monsters

MIB = 1 << 20


def test_no_text_takes_the_splitter_long():
    for name, text in monsters().items():
        begun_s = time.process_time()
        for _, game in split(iter([LineBlock(text.split(b"\n"))])):
            assert len(game) <= MIB + 1
        assert time.process_time() - begun_s < 5.0, name


def test_bombs_are_read_as_streams(tmp_path: Path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in bombs(tmp_path, 16 * MIB):
        with games([path]) as found:
            assert all(len(game.text) <= MIB + 1 for game in found), path
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 100 * 1024  # KiB
