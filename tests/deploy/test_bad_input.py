"""Bad input of every kind: one clear line on standard error that says what to do, and exit code 2."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq

from common.messages import Hello, Refusal, Role, Welcome
from common.wire import decode, encode
from common.zmq.ports import CHANNELS, Ports
from tests.actor.fake_engine import fake_engine, starts
from tests.deploy.runs import SAMPLE, Run, Started, ask, broker_at, report_of, wait_until

pytestmark = pytest.mark.slow

TINY = """[Event "one"]
[Result "1-0"]

1. e4 e5 2. Nf3 Nc6 1-0

[Event "two"]
[Result "0-1"]

1. a4 h5 2. a5 h4 0-1

[Event "three"]
[Result "1/2-1/2"]

1. d4 d5 2. c4 e6 1/2-1/2
"""
QUICK = ("--nodes", "20", "--network", "table", "--samples-per-transition", "1", "--batch-size", "4")
"""Settings with which tiny games are learned from in no time."""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.pgn"
    path.write_text(TINY)
    return path


def refusal(*words: str, **others: object) -> str:
    """Return the one line that a command ends with, and see that its exit code is 2."""
    with Started(words, **others) as command:  # type: ignore[arg-type]
        ended = command.end()
    assert ended.code == 2, ended
    program, _, line = ended.line.partition(": ")
    assert program == words[0]
    return line


def refusal_of_up(directory: Path, *arguments: str, **others: object) -> str:
    return refusal("rookery", "up", *arguments, "--run", str(directory), **others)


# An engine that never answers is waited for, so this one is started before all other tests, and met last.


@pytest.fixture(scope="module", autouse=True)
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("parrot") / "run"
    cat = shutil.which("cat")
    assert cat is not None
    with Run(directory, "--engine", cat) as run:
        yield run


# Games --------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_missed_with_the_nearest_name(tmp_path: Path, tiny: Path) -> None:
    line = refusal_of_up(tmp_path / "run", str(tmp_path / "tiyn.pgn"))
    assert line == f"{tmp_path / 'tiyn.pgn'}: no such file; did you mean {tiny}?"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "there is no game in it, only 3 bytes of blank space"),
        (b"Once upon a time there was a king, and his name was Old King Cole.\n", "not PGN, or no game in it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "not PGN but "),
        (b"PK\x03\x04" + bytes(100), "not PGN but a zip archive; unpack it first"),
    ],
    ids=["empty", "blank", "prose", "image", "zip"],
)
def test_a_file_without_games_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "games.pgn"
    path.write_bytes(content)
    assert refusal_of_up(tmp_path / "run", str(path)).startswith(f"{path}: {complaint}")


def test_no_games_at_all_is_said_with_an_example(tmp_path: Path) -> None:
    assert refusal_of_up(tmp_path / "run").startswith("no games: name PGN files, for example `rookery up ")


def test_a_file_that_ends_in_the_middle_stops_the_run_with_its_name(
    tmp_path: Path, base_port: int, stockfish: str
) -> None:
    path = tmp_path / "games.pgn.zst"
    path.write_bytes(SAMPLE.read_bytes()[:40_000])
    line = refusal_of_up(tmp_path / "run", str(path), "--base-port", str(base_port), "--nodes", "1")
    assert line.startswith(f"broker: {path}: damaged or cut short near byte 40,000 of 40,000, after ")


def test_empty_standard_input_is_refused(tmp_path: Path) -> None:
    assert refusal_of_up(tmp_path / "run", "-", stdin=b"") == (
        "standard input is empty: there is no game to read; pipe PGN into it, or name a file"
    )


def test_standard_input_is_kept_and_need_not_be_given_again(tmp_path: Path, stockfish: str) -> None:
    def run(*games: str, stdin: bytes | None = None) -> str:
        flags = ("--sequential", *QUICK) if stdin else ()
        with Run(tmp_path / "run", *flags, games=games, stdin=stdin) as run:
            ended = run.end()
        assert (ended.code, ended.err) == (0, "")
        return ended.out

    assert run("-", stdin=TINY.encode()).startswith("3 games in 1 unit: every game learned from exactly once")
    assert run("-").startswith("all done already: ")
    assert run().startswith("all done already: ")


# The engine ---------------------------------------------------------------------------------------------


def test_no_engine_is_said_with_what_to_do(tmp_path: Path, tiny: Path) -> None:
    line = refusal_of_up(tmp_path / "run", str(tiny), "--engine", "stonefish")
    assert line == "no engine 'stonefish' here; install Stockfish or give its path with --engine"


def test_a_program_that_is_no_engine_is_refused(tmp_path: Path, tiny: Path) -> None:
    true = shutil.which("true")
    assert true is not None
    line = refusal_of_up(tmp_path / "run", str(tiny), "--engine", true)
    assert line == f"{true}: is not a UCI engine: it ends without saying 'uciok'; give another with --engine"


def test_a_file_that_is_no_program_is_refused_as_an_engine(tmp_path: Path, tiny: Path) -> None:
    line = refusal_of_up(tmp_path / "run", str(tiny), "--engine", str(tiny))
    assert line == f"{tiny}: is not executable; try chmod +x, or give another with --engine"
    tiny.chmod(0o755)
    assert (
        refusal_of_up(tmp_path / "run", str(tiny), "--engine", str(tiny))
        == f"{tiny}: can't be run: Exec format error; give another with --engine"
    )


def test_a_start_that_failed_for_want_of_an_engine_ties_nobody_to_its_settings(
    tmp_path: Path, tiny: Path, stockfish: str
) -> None:
    refusal_of_up(tmp_path / "run", str(tiny), "--engine", "stonefish", "--nodes", "7")
    with Run(tmp_path / "run", "--sequential", *QUICK, games=[tiny]) as run:
        assert run.end().code == 0


DIES_ON_ONE_GAME = """
def go():
    if starts < 2 and searches == 3:
        os._exit(1)  # once, on a game that is not to blame
    if "/7p/P7/" in position:
        os._exit(1)
    answer()
"""


def test_a_game_that_kills_the_engine_three_times_is_rejected_and_the_run_completes(
    tmp_path: Path, tiny: Path, base_port: int
) -> None:
    engine = fake_engine(tmp_path, DIES_ON_ONE_GAME)
    flags = (*QUICK, "--engine", engine, "--actors", "1")
    with Run(tmp_path / "run", *flags, games=[tiny], base_port=base_port) as run:
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert "rejected 1 (1 engine-died)" in ended.out
    report = report_of(tmp_path / "run")
    assert report.finished
    assert report.closed
    assert report.restarts == 0
    assert {agent.totals.games_used for agent in report.agents} == {2}
    (rejected,) = [json.loads(line) for line in (tmp_path / "run" / "rejected.jsonl").open()]
    assert (rejected["number"], rejected["source"], rejected["line"]) == (1, str(tiny), 6)
    assert (rejected["reason"], rejected["detail"]) == ("engine-died", "the engine ended")
    # By the check before the start, by the actor, after the first death, and after each of the guilty game's.
    assert starts(tmp_path) >= 1 + 1 + 3


def test_an_engine_that_answers_nothing_is_given_up(parrot: Started) -> None:
    ended = parrot.end()
    assert ended.code == 2
    assert ended.line.endswith(
        "/cat: is not a UCI engine: it doesn't say 'uciok' in time; give another with --engine"
    )


# The place ----------------------------------------------------------------------------------------------


def test_a_taken_port_is_named(tmp_path: Path, tiny: Path, base_port: int, stockfish: str) -> None:
    taken, last = base_port + 3, base_port + len(CHANNELS) - 1
    with socket.create_server(("127.0.0.1", taken)):
        line = refusal_of_up(tmp_path / "run", str(tiny), "--base-port", str(base_port))
    assert line == (
        f"port {taken} on 127.0.0.1 is taken (needed: {base_port} to {last}); is another run going on? "
        "Choose another --base-port"
    )


def test_an_address_that_is_not_ours_is_refused(tmp_path: Path, tiny: Path, stockfish: str) -> None:
    line = refusal_of_up(tmp_path / "run", str(tiny), "--bind", "192.0.2.1")
    assert line == "--bind 192.0.2.1: not an address of this host; give one of its own, or 0.0.0.0 for all"


@pytest.mark.parametrize("place", ["a file", "under a file", "the kernel's"])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path, tiny: Path, place: str) -> None:
    paths = {"a file": tiny, "under a file": tiny / "run", "the kernel's": Path("/sys/rookery")}
    line = refusal_of_up(paths[place], str(tiny))
    assert line.startswith(f"{paths[place]}: can't write there: ")
    assert line.endswith("; choose another --run")


def test_a_directory_made_otherwise_is_refused_with_the_differences(
    tmp_path: Path, tiny: Path, stockfish: str
) -> None:
    directory = tmp_path / "run"
    with Run(directory, "--sequential", *QUICK, games=[tiny]) as run:
        assert run.end().code == 0
    line = refusal_of_up(directory, str(tiny), "--nodes", "21", "--seed", "5")
    assert line == (
        f"{directory} was made otherwise: nodes is 20 there, 21 here; seed is 0 there, 5 here. "
        "Choose another --run, or give the same games and settings"
    )
    other = tmp_path / "other.pgn"
    other.write_text(TINY.replace("Nf3", "Nc3"))
    line = refusal_of_up(directory, str(other))
    size = len(TINY)
    assert line.startswith(
        f"{directory} was made otherwise: games file 1 is tiny.pgn ({size} bytes) there, "
        f"other.pgn ({size} bytes, other content) here. "
    )
    assert "games are 1 files there, 2 here" in refusal_of_up(directory, str(tiny), str(other))
    kept = directory / "settings.toml"
    kept.write_text(kept.read_text().replace("discount = 0.0 ", "discount = 0.9 "))
    assert f"{directory} was made otherwise: discount is 0.0 there, 0.9 here." in refusal_of_up(directory)


def test_two_runs_in_one_directory_are_one_too_many(
    tmp_path: Path, tiny: Path, base_port: int, stockfish: str
) -> None:
    directory = tmp_path / "run"
    with Run(directory, games=[SAMPLE], base_port=base_port):
        wait_until((directory / "settings.toml").exists, "the first run's start")
        line = refusal_of_up(directory, str(tiny))
    assert line == f"{directory}: another `rookery up` is at work there; wait for it or choose another --run"


# Settings -----------------------------------------------------------------------------------------------


def test_an_unknown_setting_in_the_file_is_named_with_the_nearest(tmp_path: Path, tiny: Path) -> None:
    file = tmp_path / "rookery.toml"
    file.write_text("lerning_rate = 0.1\n")
    line = refusal_of_up(tmp_path / "run", str(tiny), "--settings", str(file))
    assert line == f"{file}: unknown setting lerning_rate; did you mean learning_rate?"


def test_an_unknown_setting_in_the_environment_is_named_with_the_nearest(tmp_path: Path, tiny: Path) -> None:
    line = refusal_of_up(tmp_path / "run", str(tiny), environment={"ROOKERY_NODE": "5"})
    assert line == "environment: unknown setting ROOKERY_NODE; did you mean ROOKERY_NODES?"


def test_an_unknown_flag_is_named_with_the_nearest(tmp_path: Path, tiny: Path) -> None:
    line = refusal_of_up(tmp_path / "run", str(tiny), "--nodez", "5")
    assert line.startswith("No such option '--nodez'")
    assert "--nodes" in line


@pytest.mark.parametrize("command", ["rookery-broker", "rookery-actor", "rookery-learner", "rookery-logs"])
def test_every_service_names_an_unknown_flag(command: str) -> None:
    assert "--seeds" in refusal(command, "--seeds", "5")


def test_a_value_of_the_wrong_type_is_shown(tmp_path: Path, tiny: Path) -> None:
    line = refusal_of_up(tmp_path / "run", str(tiny), "--nodes", "many")
    assert line.startswith("--nodes: ")
    assert "'many'" in line


def test_an_unknown_network_is_refused_with_those_that_are_known(tmp_path: Path, tiny: Path) -> None:
    line = refusal_of_up(tmp_path / "run", str(tiny), "--network", "mpl")
    assert line == "network 'mpl' is not known; known are: mlp, resnet, transformer, table"


def test_a_bad_query_is_quoted(tmp_path: Path, tiny: Path) -> None:
    file = tmp_path / "rookery.toml"
    file.write_text('[[agents]]\nname = "white"\nside = "white"\nwhere = "WhiteEllo > 2200"\n')
    line = refusal_of_up(tmp_path / "run", str(tiny), "--settings", str(file))
    assert "WhiteEllo > 2200" in line
    assert "did you mean WhiteElo?" in line


def test_an_unknown_agent_is_refused_with_those_that_are_known() -> None:
    line = refusal("rookery-learner", "--agent", "whit")
    assert line == "no agent is called 'whit'; the settings have: white, black; did you mean white?"


# Peers --------------------------------------------------------------------------------------------------


def foreign(envelope: bytes) -> bytes:
    """Return an envelope as a peer of another version would have packed it."""
    return msgpack.packb({**msgpack.unpackb(envelope), "v": 99})


def test_a_broker_turns_a_peer_of_another_version_away_and_goes_on(
    tmp_path: Path, tiny: Path, base_port: int
) -> None:
    command = ["rookery-broker", str(tiny), "--base-port", str(base_port), "--run", str(tmp_path)]
    with Started(command) as broker, zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        wait_until(lambda: ask(broker_at(base_port)) is not None, "the broker's start")
        hello = Hello(role=Role.ACTOR, name="a", session="s", host="h", pid=1, software="9.9.9")
        peer.setsockopt(zmq.LINGER, 0)
        peer.connect(Ports(host="127.0.0.1", base_port=base_port).control)
        peer.send(foreign(encode(hello)))
        assert peer.poll(10_000)
        answer = decode(peer.recv(), Refusal)
        status = ask(broker_at(base_port))
        broker.process.terminate()
        assert broker.end().code == 0
    assert answer.reason == "protocol version 99 is not ours (3): run the same release of Rookery on all hosts"
    assert status is not None
    assert status.services == []
    assert sum(status.dropped.values()) == 1


@pytest.mark.parametrize("service", ["rookery-actor", "rookery-learner", "rookery-logs", "rookery"])
def test_a_service_that_meets_a_broker_of_another_version_says_so_and_ends(
    tmp_path: Path, base_port: int, service: str, stockfish: str
) -> None:
    more = {"rookery-learner": ["--agent", "white"], "rookery": ["status"]}.get(service, [])
    command = [service, *more, "--base-port", str(base_port), "--run", str(tmp_path)]
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, Started(command) as peer:
        router.setsockopt(zmq.LINGER, 0)
        router.bind(Ports(host="127.0.0.1", base_port=base_port).control)
        assert router.poll(60_000)
        sender, _ = router.recv_multipart()
        router.send_multipart([sender, foreign(encode(Welcome(broker="b", agents=["white"])))])
        ended = peer.end()
    assert ended.code == 2
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"{service}: the broker ")
    assert last.endswith("protocol version 99 is not ours (3): run the same release of Rookery on all hosts")
