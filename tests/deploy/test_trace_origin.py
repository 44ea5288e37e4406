"""Where units, games and transitions of a real run came from."""

import shutil
from pathlib import Path
from typing import Any

import chess
import msgspec
import pytest
from click.testing import CliRunner, Result

from common.batch import NO_RESULT, Batch
from common.errors import OperatorError
from common.settings import AgentSettings, Side
from deploy.trace_command import trace
from deploy.trace_facts import GameFacts, TransitionFacts, UnitFacts
from deploy.trace_origin import Tracer
from deploy.trace_what import what_of
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from tests.deploy.reference import Reference

WHITE = AgentSettings(name="white", side=Side.WHITE)


@pytest.fixture(scope="module")
def tracer(reference: Reference) -> Tracer:
    return Tracer(reference.directory)


def batches(directory: Path) -> list[Batch]:
    with ExperienceReader(AgentDirectory.of(directory, "white").experience, WHITE) as store:
        return list(store.batches(0))


def used_game(directory: Path) -> int:
    return next(
        number
        for batch in batches(directory)
        for number, result, rows in zip(
            batch.game_numbers.tolist(), batch.results.tolist(), batch.game_rows.tolist(), strict=True
        )
        if result != NO_RESULT and rows > 5
    )


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(trace, [str(argument) for argument in arguments])


def test_the_rewards_of_a_game_lead_from_transition_to_transition_to_its_outcome(
    tracer: Tracer, reference: Reference
) -> None:
    game = used_game(reference.directory)
    ply: int | None = tracer.game(game).agents[0].plies[0]
    rewards, first = 0.0, None
    while ply is not None:
        facts = tracer.transition("white", game, ply)
        assert isinstance(facts, TransitionFacts)
        board = chess.Board(facts.fen)
        assert board.turn == chess.WHITE
        assert board.parse_san(facts.move).uci() == facts.uci
        first = facts.expected_score if first is None else first
        rewards, outcome, ply = rewards + facts.reward, facts.outcome, facts.next_ply
    assert facts.terminated
    assert outcome is not None
    assert first is not None
    assert rewards == pytest.approx(outcome - first, abs=1e-5)


def test_a_game_is_found_again_in_its_source_with_its_headers(tracer: Tracer, reference: Reference) -> None:
    facts = tracer.game(used_game(reference.directory))
    assert facts.source is not None
    assert Path(facts.source.file) in [Path(game) for game in reference.games]
    assert "White" in facts.source.headers
    assert facts.unit.agents[0].trained is not None
    assert facts.unit.agents[0].stored.endswith("Z")


def test_a_rejected_game_says_so_with_the_reason(tracer: Tracer, reference: Reference) -> None:
    rejection = next(one for batch in batches(reference.directory) for one in batch.rejections)
    facts = tracer.trace(what_of(f"white:{rejection.number}:0"))
    assert isinstance(facts, GameFacts)
    assert facts.agents[0].fate == "rejected"
    assert rejection.reason.value in facts.agents[0].why
    told = invoke(reference.directory, f"game:{rejection.number}").output
    assert f"rejected: {rejection.reason.value}" in told
    assert f"line {rejection.line}" in told


def test_a_unit_of_rejected_games_alone_is_trained_once_its_interval_is(
    tmp_path: Path, reference: Reference
) -> None:
    for name in ("settings.toml", "origin.json"):
        (tmp_path / name).symlink_to(reference.directory / name)
    shutil.copytree(reference.directory / "agents", tmp_path / "agents")
    metrics = AgentDirectory.of(tmp_path, "white").metrics
    first, *others = metrics.read_bytes().splitlines(keepends=True)
    line = {**msgspec.json.decode(first), "transitions": 0}
    metrics.write_bytes(msgspec.json.encode(line) + b"\n" + b"".join(others))
    trained = Tracer(tmp_path).unit(0).agents[0].trained
    assert trained is not None
    assert trained.first_unit == 0


def test_a_run_of_services_is_traced_with_their_settings(tmp_path: Path, reference: Reference) -> None:
    (tmp_path / "agents").symlink_to(reference.directory / "agents")
    error: Any = invoke(tmp_path, "unit:0").exception
    assert isinstance(error, OperatorError)
    assert "by --settings" in str(error)
    done = invoke(tmp_path, "unit:0", "--settings", reference.directory / "settings.toml")
    assert done.exception is None
    assert "unit 0: games 0 to" in done.output


def test_a_unit_says_who_has_it_as_text_and_as_json(reference: Reference) -> None:
    done = invoke(reference.directory, "unit:0", "--json")
    (facts,) = msgspec.json.decode(done.output.encode(), type=list[UnitFacts])
    assert [agent.agent for agent in facts.agents] == ["white", "black"]
    assert "unit 0: games 0 to" in invoke(reference.directory, "unit:0").output


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unit:999", "no agent has unit 999: white has 0 to"),
        ("game:123456", "no agent has unit"),
        ("white:{game}:1", "no transition at ply 1 of game"),
        ("red:0:0", "no agent is called 'red'"),
        ("move:3", "says nothing that can be traced"),
        ("unit:-1", "says nothing that can be traced"),
    ],
)
def test_what_there_is_not_is_named_in_one_line(reference: Reference, what: str, said: str) -> None:
    error: Any = invoke(reference.directory, what.format(game=used_game(reference.directory))).exception
    assert isinstance(error, OperatorError)
    assert said in str(error)
    assert "\n" not in str(error)


def test_a_source_that_has_changed_is_not_quoted(tmp_path: Path, reference: Reference) -> None:
    for name in ("settings.toml", "agents"):
        (tmp_path / name).symlink_to(reference.directory / name)
    origin = (reference.directory / "origin.json").read_text()
    (tmp_path / "origin.json").write_text(origin.replace('"size_bytes": ', '"size_bytes": 1'))
    facts = Tracer(tmp_path).game(used_game(reference.directory))
    assert facts.source is None
    assert "is not what it was when the run was made" in facts.note
