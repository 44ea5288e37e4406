"""Whatever happens on the way, a run ends with the same weights, bit by bit, and every unit stored once."""

import signal
from pathlib import Path

import chess.pgn
import msgspec
import pytest

from agent.weights import digest, load_weights
from common.messages import StoreTotals
from common.settings import DEFAULT_AGENTS
from learner.checkpoints import CheckpointDirectory
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from tests.deploy.expected import games_of
from tests.deploy.reference import (
    BOTH,
    EVERY_UNIT,
    FLAGS,
    LIMIT_GAMES,
    SMALL_WINDOW,
    UNITS,
    WHITE_AND_BLACK,
    Reference,
    half_way,
)
from tests.deploy.runs import Run, report_of, stopped, weights_of

pytestmark = pytest.mark.slow


@pytest.fixture(params=["zmq", "nats"])
def on(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The flags of each transport."""
    if request.param == "nats":
        request.getfixturevalue("nats_server_binary")
    return "--transport", request.param


def assert_complete(directory: Path, reference: Reference, base_port: int) -> None:
    """Every unit once in each store, the books closed, the weights those of the reference; and it knows it."""
    report = report_of(directory)
    assert report.finished
    assert report.closed
    assert (report.games_total, report.units_total) == (LIMIT_GAMES, UNITS)
    for agent in report.agents:
        assert agent.totals == reference.totals[agent.name]
        assert agent.units == EVERY_UNIT
        assert agent.units_trained == UNITS
        assert agent.transitions_trained == agent.totals.transitions
        assert agent.in_flight == 0
    for settings in DEFAULT_AGENTS:
        files = AgentDirectory.of(directory, settings.name)
        with ExperienceReader(files.experience, settings) as store:
            assert store.intervals() == EVERY_UNIT
            assert store.totals() == reference.totals[settings.name]
            assert [batch.unit for batch in store.batches(0)] == list(range(UNITS))
        assert digest(load_weights(files.weights)[0]) == reference.weights[settings.name]
    assert weights_of(directory) == reference.weights
    with Run(directory, *FLAGS, games=reference.games, base_port=base_port) as again:
        ended = again.end()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("all done already: ")


def test_a_sequential_run_closes_its_books(reference: Reference, base_port: int) -> None:
    assert_complete(reference.directory, reference, base_port)


@pytest.mark.parametrize("actors", [3])
def test_actors_make_no_difference(
    tmp_path: Path, reference: Reference, base_port: int, on: tuple[str, ...], actors: int
) -> None:
    flags = (*FLAGS, *on, "--actors", str(actors), "--quiet")
    with Run(tmp_path, *flags, games=reference.games, base_port=base_port) as run:
        ended = run.end()
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith(f"{LIMIT_GAMES} games in {UNITS} units: ")  # quiet: the summary alone
        assert run.processes() == []
    assert_complete(tmp_path, reference, base_port)


def test_an_actor_killed_in_mid_unit_makes_no_difference(
    tmp_path: Path, reference: Reference, base_port: int, on: tuple[str, ...]
) -> None:
    with Run(tmp_path, *FLAGS, *on, "--actors", "3", games=reference.games, base_port=base_port) as run:
        # Its engine is stopped before there is anything to do, which is when the learners have come.
        run.wait_for(lambda status: "actor-1" in {service.name for service in status.services}, "the actor")
        actor = run.service("actor", "actor-1")
        (engine,) = actor.children()
        with stopped(engine):
            status = run.wait_for(
                lambda status: (
                    status.units_total is not None
                    and all(agent.units_stored + agent.leased == UNITS for agent in status.agents)
                ),
                "all units stored but those that it is at",
            )
            assert all(agent.leased for agent in status.agents)
            actor.kill()
        ended = run.end()
        assert run.processes() == []
    assert (ended.code, ended.err) == (0, "")
    assert "actor-1 was started again after signal SIGKILL" in ended.out
    assert report_of(tmp_path).restarts == 1
    assert_complete(tmp_path, reference, base_port)


def test_a_learner_killed_and_restarted_makes_no_difference(
    tmp_path: Path, reference: Reference, base_port: int, on: tuple[str, ...]
) -> None:
    checkpoints = AgentDirectory.of(tmp_path, "white").checkpoints
    with Run(tmp_path, *FLAGS, *on, *SMALL_WINDOW, games=reference.games, base_port=base_port) as run:
        with half_way(run):
            run.wait_for(lambda _: any(checkpoints.glob("step-*")), "a checkpoint on disk")
            run.service("learner", "white").kill()
            state = CheckpointDirectory(checkpoints, keep=3).load_newest()
            assert state is not None
            assert 0 < state.next_unit < UNITS
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert "learner-white was started again after signal SIGKILL" in ended.out
    assert_complete(tmp_path, reference, base_port)


def test_a_broker_killed_and_restarted_makes_no_difference(
    tmp_path: Path, reference: Reference, base_port: int, on: tuple[str, ...]
) -> None:
    with Run(tmp_path, *FLAGS, *on, *SMALL_WINDOW, games=reference.games, base_port=base_port) as run:
        with half_way(run):
            run.service("broker").kill()
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert "broker was started again after signal SIGKILL" in ended.out
    assert_complete(tmp_path, reference, base_port)


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(
    tmp_path: Path, reference: Reference, base_port: int
) -> None:
    with Run(tmp_path, *FLAGS, *SMALL_WINDOW, games=reference.games, base_port=base_port) as run:
        with half_way(run):
            run.process.send_signal(signal.SIGINT)
        ended = run.end()
        assert ended.code == 130
        assert "stopping: finishing what is begun" in ended.out
        assert "not finished; start it again to go on" in ended.out
        assert run.processes() == []
    report = report_of(tmp_path)
    assert not report.finished
    assert report.closed
    assert all(0 < agent.units_trained <= agent.totals.units < UNITS for agent in report.agents)
    with Run(tmp_path, *FLAGS, games=reference.games, base_port=base_port) as run:
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert_complete(tmp_path, reference, base_port)


def test_a_nats_server_killed_and_restarted_makes_no_difference(
    tmp_path: Path, reference: Reference, base_port: int, nats_server_binary: str
) -> None:
    flags = (*FLAGS, *SMALL_WINDOW, "--transport", "nats")
    with Run(tmp_path, *flags, games=reference.games, base_port=base_port) as run:
        with half_way(run):
            (server,) = [process for process in run.processes() if process.name() == "nats-server"]
            server.kill()
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert "nats was started again after signal SIGKILL" in ended.out
    assert_complete(tmp_path, reference, base_port)


def test_a_run_that_moves_to_nats_and_back_ends_with_the_same_weights(
    tmp_path: Path, reference: Reference, base_port: int, nats_server_binary: str
) -> None:
    for enough, transport in ((UNITS // 4, "zmq"), (UNITS // 2, "nats")):
        flags = (*FLAGS, *SMALL_WINDOW, "--transport", transport)
        with Run(tmp_path, *flags, games=reference.games, base_port=base_port) as run:
            run.wait_for(
                lambda status, enough=enough: all(agent.units_trained >= enough for agent in status.agents),
                f"{enough} units trained",
            )
            run.process.send_signal(signal.SIGINT)
            assert run.end().code == 130
        assert not report_of(tmp_path).finished
    with Run(tmp_path, *FLAGS, "--transport", "zmq", games=reference.games, base_port=base_port) as run:
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert_complete(tmp_path, reference, base_port)


SHORT_WINS = """
[[agents]]
name = "short-wins"
side = "white"
where = "PlyCount < 120 and Result == '1-0'"
"""


def test_more_agents_than_two_each_learn_what_they_would_have_learned_alone(
    tmp_path: Path, reference: Reference, base_port: int
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(WHITE_AND_BLACK + SHORT_WINS + BOTH)
    flags = ("--settings", str(settings), *FLAGS)
    with Run(tmp_path / "run", *flags, games=reference.games, base_port=base_port) as run:
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    report = report_of(tmp_path / "run")
    assert report.finished
    assert report.closed
    white, black, chosen, both = report.agents
    games = games_of(reference.games, LIMIT_GAMES)
    wins = [game for game in games if plies(game) < 120 and game.headers["Result"] == "1-0" and not game.errors]
    assert chosen.units == EVERY_UNIT
    assert chosen.totals == StoreTotals(
        units=UNITS,
        transitions=sum((plies(game) + 1) // 2 for game in wins),
        games_read=LIMIT_GAMES,
        games_used=len(wins),
        games_unselected=white.totals.games_used - len(wins),
        rejected=white.totals.rejected,
    )
    of_both = white.totals.transitions + black.totals.transitions
    assert both.totals == msgspec.structs.replace(white.totals, transitions=of_both)
    weights = weights_of(tmp_path / "run")
    assert {name: weights[name] for name in reference.weights} == reference.weights

    settings.write_text(SHORT_WINS + BOTH)
    with Run(tmp_path / "alone", *flags, "--sequential", games=reference.games) as run:
        assert run.end().code == 0
    assert weights_of(tmp_path / "alone") == {name: weights[name] for name in ("both", "short-wins")}


def plies(game: chess.pgn.Game) -> int:
    return sum(1 for _ in game.mainline())
