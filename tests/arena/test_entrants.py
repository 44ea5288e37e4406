"""Who is evaluated: names, baselines that are found, named or missing."""

from pathlib import Path

from agent.player import Player
from arena.entrants import NETWORK_WAYS, contenders, load_entrants
from arena.report_card import Way
from tests.arena.players import small_player


def load(path: Path) -> Player:
    return small_player()


def test_missing_baselines_are_said(tmp_path: Path) -> None:
    entrants, notes = load_entrants([tmp_path], {}, NETWORK_WAYS, load)
    assert [entrant.name for entrant in entrants] == [tmp_path.name]
    assert len(notes) == 2
    assert notes[0].startswith(f"no cloning baseline: there is no {tmp_path / 'baselines' / 'cloning'}")


def test_baselines_of_a_run_are_found_from_its_checkpoints_too(tmp_path: Path) -> None:
    for kind in ("cloning", "value"):
        (tmp_path / "baselines" / kind).mkdir(parents=True)
    checkpoint = tmp_path / "agents" / "white" / "checkpoints" / "step-0000000100-unit-00000003"
    checkpoint.mkdir(parents=True)
    entrants, notes = load_entrants([tmp_path, checkpoint], {}, NETWORK_WAYS, load)
    assert notes == []
    assert [entrant.name for entrant in entrants] == [tmp_path.name, checkpoint.name, "cloning", "value"]
    assert [entrant.ways for entrant in entrants[2:]] == [(Way.PRIOR,), (Way.LOOKAHEAD,)]


def test_a_baseline_can_be_named(tmp_path: Path) -> None:
    entrants, notes = load_entrants([tmp_path], {"cloning": tmp_path / "x", "older": tmp_path / "y"}, [], load)
    assert [(entrant.name, entrant.ways) for entrant in entrants[1:]] == [
        ("cloning", (Way.PRIOR,)),
        ("older", (Way.POLICY,)),
    ]
    assert len(notes) == 1


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "step-1", tmp_path / "b" / "step-1"]
    entrants, _ = load_entrants(paths, {}, [], load)
    assert [entrant.name for entrant in entrants] == ["a/step-1", "b/step-1"]
    twice, _ = load_entrants([tmp_path, tmp_path], {}, [], load)
    assert len({entrant.name for entrant in twice}) == 2


def test_rows_end_with_those_that_need_no_network(tmp_path: Path) -> None:
    entrants, _ = load_entrants([tmp_path], {}, NETWORK_WAYS, load)
    rows = contenders(entrants, 8, without=(Way.SEARCH,), action_values=True)
    assert [row.entry.way for row in rows] == [
        Way.ACTION_VALUES, Way.POLICY, Way.PRIOR, Way.LOOKAHEAD, Way.RANDOM, Way.MATERIAL,
    ]  # fmt: skip
