import subprocess
import sys
from pathlib import Path

import pytest

from actor import engine_profile
from actor.engine_build import words_of
from actor.engine_profile import profile
from common.errors import EngineNotUsable
from tests.actor.fake_engine import fake_engine


@pytest.fixture(autouse=True)
def short_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_profile, "SEARCH_S", 0.05)


def test_stockfish_says_who_it_is_and_is_timed(stockfish: str) -> None:
    found = profile(stockfish)
    assert found.path == stockfish
    assert found.name.startswith("Stockfish")
    assert all(network.startswith("nn-") for network in found.networks)
    assert words_of(found.compiler_answer) >= {"64bit"}
    assert 10_000 < found.nodes_per_s < 20_000_000


def test_an_engine_that_says_little_is_profiled_all_the_same(tmp_path: Path) -> None:
    found = profile(fake_engine(tmp_path, name="Little 1"))
    assert (found.name, found.networks) == ("Little 1", ("nn-fake.nnue",))
    assert found.nodes_per_s > 0
    assert not words_of(found.compiler_answer)


def test_what_is_no_engine_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineNotUsable, match="no engine 'stockfisch' here; install Stockfish"):
        profile("stockfisch")
    with pytest.raises(EngineNotUsable, match="true: is not a UCI engine: it ends when told 'uci'"):
        profile("/bin/true")
    with pytest.raises(EngineNotUsable, match="cat: is not a UCI engine: no answer to 'uci'"):
        profile("/bin/cat", handshake_s=0.1)
    dies = fake_engine(tmp_path, "def go(): sys.exit()")
    with pytest.raises(EngineNotUsable, match="ends when told 'position'"):
        profile(dies)


def test_it_needs_neither_numpy_nor_chess() -> None:
    code = "import sys, actor.engine_profile, actor.engine_build; print({'numpy', 'chess'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
