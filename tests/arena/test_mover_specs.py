import sys
from contextlib import ExitStack
from pathlib import Path

import chess
import pytest

import arena.mover_specs
from arena.mover_specs import open_mover
from arena.movers import MaterialGreedy, Mover, OnePlyMover, PolicyMover, PriorMover, RandomMover, SearchMover
from arena.opponents import UciMover
from common.errors import EngineNotUsable, SettingsError
from tests.arena.players import small_player


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, float | None]]:
    """Makes every path a player; the list says what was asked for."""
    asked: list[tuple[Path, float | None]] = []

    def load_player(path: Path, *, tau: float | None = None) -> object:
        asked.append((path, tau))
        return small_player()

    monkeypatch.setattr(arena.mover_specs, "load_player", load_player)
    return asked


def opened(text: str) -> Mover:
    with ExitStack() as stack:
        return open_mover(text, stack)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("random", RandomMover, "random"),
        ("random:seed=3", RandomMover, "random"),
        ("material", MaterialGreedy, "material"),
        ("policy:/runs/first", PolicyMover, "first"),
        ("policy:/runs/first,temperature=0.5,seed=2", PolicyMover, "first temperature 0.5"),
        ("prior:/runs/first", PriorMover, "prior of first"),
        ("one-ply:/runs/first/white/step-3-unit-2", OnePlyMover, "one-ply of white/step-3-unit-2"),
        ("prior:/runs/first/weights.safetensors", PriorMover, "prior of first"),
        ("prior:/runs/white.safetensors", PriorMover, "prior of white"),
        ("search:/runs/first,nodes=50,tau=0.1", SearchMover, "first tau 0.1 50 nodes"),
    ],
)  # fmt: skip
def test_a_text_names_a_mover(loaded: list, text: str, kind: type, name: str) -> None:
    mover = opened(text)
    assert isinstance(mover, kind)
    assert mover.name == name


def test_a_path_alone_is_the_policy_whatever_stands_in_it(loaded: list, tmp_path: Path) -> None:
    path = tmp_path / "a,b:c=d"
    path.mkdir()
    assert isinstance(opened(str(path)), PolicyMover)
    assert loaded == [(path, None)]


def test_tau_goes_to_the_player(loaded: list) -> None:
    opened("policy:/runs/first,tau=0.2")
    assert loaded == [(Path("/runs/first"), 0.2)]


def test_a_seed_in_the_text_goes_before_the_command_s() -> None:
    boards = [chess.Board()] * 30
    with ExitStack() as stack:
        given, own = open_mover("random:seed=5", stack, seed=7), open_mover("random", stack, seed=7)
        assert given.choose(boards) == RandomMover(5).choose(boards)
        assert own.choose(boards) == RandomMover(7).choose(boards)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("stockfish", "Stockfish 1000 nodes"),
        ("stockfish:skill=3,nodes=50", "Stockfish skill 3 50 nodes"),
        ("stockfish:elo=1500,depth=2", "Stockfish elo 1500 depth 2"),
        ("stockfish:movetime=0.05,Hash=1,processes=1", "Stockfish 0.05s Hash=1"),
    ],
)
def test_engines_have_levels_and_limits(stockfish: str, text: str, name: str) -> None:
    with ExitStack() as stack:
        mover = open_mover(text, stack)
        assert isinstance(mover, UciMover)
        assert mover.name == name
        assert chess.Board().is_legal(mover.choose([chess.Board()])[0])


def test_any_engine_may_be_named_with_its_arguments() -> None:
    with ExitStack() as stack:
        engine = f"{sys.executable} {Path(__file__).parent / 'bad_engine.py'} none 9"
        mover = open_mover(f"uci:{engine},nodes=1,processes=1", stack)
        assert mover.name == "Bad engine 1 nodes"
        assert len(mover.choose([chess.Board()])) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("radnom", "did you mean random?"),
        ("/no/such/path", "no such file or directory"),
        ("material,seed=1", "did you mean material?"),
        ("random:sed=1", "did you mean seed?"),
        ("random:1", "'1' is not NAME=VALUE"),
        ("prior:", "what stands after prior: is the path"),
        ("prior:/x,nodes=1", "no option 'nodes'"),
        ("search:/x,nodes=0", "nodes: Expected `int` >= 1"),
        ("policy:/x,temperature=-1", "temperature"),
        ("stockfish:skill=21", "skill"),
        ("", "no such file or directory"),
    ],
)
def test_a_text_that_names_none_is_one_clear_line(loaded: list, text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        opened(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_that_the_engine_lacks_is_one_clear_line(stockfish: str) -> None:
    with pytest.raises(EngineNotUsable, match="no option 'Sugar'"):
        opened("stockfish:Sugar=1")
