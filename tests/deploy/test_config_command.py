"""`rookery config`: what it shows, what it finds wrong, and the file that it writes."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from common.settings import Settings, choices_of, read_file
from deploy.config_command import config
from deploy.config_file import OTHERS, groups, settings_file, values_of

GAME = "1. e4 e5 1-0\n"
QUIET = 'evals = "pgn"\n'
"""No engine is needed, and none missed."""


@pytest.fixture
def toml(tmp_path: Path):
    def write(text: str) -> Path:
        file = tmp_path / "rookery.toml"
        file.write_text(text)
        return file

    return write


def rookery_config(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(config, [str(argument) for argument in arguments], env=environment)


def told_of(file: Path, *flags: str) -> list[str]:
    """What `check` finds wrong, without the name of the file; and its exit code is 2."""
    done = rookery_config("check", file, *flags)
    assert done.exit_code == 2
    return [line.removeprefix(f"rookery: {file}: ") for line in done.stderr.splitlines()]


# init ---------------------------------------------------------------------------------------------------


def test_the_file_that_init_writes_sets_nothing_and_has_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "rookery.toml"
    assert rookery_config("init", file).exit_code == 0
    assert tomllib.loads(file.read_text()) == {}
    assert read_file(file) == Settings()
    done = rookery_config("check", file)
    assert done.exit_code == 0
    assert done.stdout == f"{file}: no mistakes; it sets nothing otherwise than the defaults\n"


def test_every_setting_in_it_stands_with_its_default(toml) -> None:
    text = settings_file("rookery.toml")
    uncommented = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)
    values = tomllib.loads(uncommented)
    defaults = msgspec.to_builtins(Settings())
    assert set(values) == {name for name, value in defaults.items() if value is not None}
    assert read_file(toml(uncommented)) == Settings()
    for name in set(defaults) - set(values):
        assert f"# not set by default: {name} = " in text


def test_every_setting_is_in_a_group_of_a_purpose() -> None:
    assert {name for group in groups() for name in group.names} == {*Settings.__struct_fields__} - {"agents"}
    assert not [group.names for group in groups() if group.title == OTHERS]


def test_what_a_setting_can_be_is_told_in_words() -> None:
    assert values_of("nodes") == "1 to 1,000,000,000"
    assert values_of("held_out") == "0 to under 1"
    assert values_of("learning_rate") == "over 0 to 10"
    assert values_of("lease_timeout_s") == "over 0"
    assert values_of("limit_games") == "1 or more"
    assert values_of("log_files") == "true | false"
    assert values_of("reward") == " | ".join(choices_of("reward")) == "shaped | outcome"
    assert values_of("engine") == ""


def test_init_never_writes_over_a_file(toml) -> None:
    file = toml("nodes = 3\n")
    done = rookery_config("init", file)
    assert str(done.exception) == f"{file}: is there already; give another FILE, or move it away"
    assert file.read_text() == "nodes = 3\n"


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    file = tmp_path / "no" / "rookery.toml"
    assert str(rookery_config("init", file).exception) == f"{file}: can't be written: No such file or directory"


# check --------------------------------------------------------------------------------------------------


def test_check_finds_all_mistakes_at_once(toml) -> None:
    file = toml(
        'lerning_rate = 1\nnodes = 0\nlog_level = "loud"\nrun = 3\n'
        '[[agents]]\nname = "A"\nside = "red"\n[[agents]]\nside = "white"\nwher = "x"\n'
    )
    assert told_of(file) == [
        "unknown setting lerning_rate; did you mean learning_rate?",
        "nodes: expected a whole number >= 1, got 0",
        "log_level: got 'loud'; it is one of debug, info, warning, error",
        "run: expected text, got 3",
        "agents[0].name: got 'A'; it is up to 63 of a-z, 0-9, _ and -, beginning with a letter or a digit",
        "agents[0].side: got 'red'; it is one of white, black, both",
        "agents[1]: unknown setting wher; did you mean where?",
        "agents[1]: name is missing; an agent has a name and a side",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("agents = 3\n", "agents: expected a list, got 3"),
        ("agents = [3]\n", "agents[0]: expected a table, got 3"),
        ("agents = []\n", "agents: at least one agent is needed; leave agents out for one of each colour"),
        (
            '[[agents]]\nname = "a"\nside = "white"\n[[agents]]\nname = "a"\nside = "black"\n',
            "agents: two agents are called the same: a; rename one",
        ),
        (
            'probe_rate = 0.1\nevals = "pgn"\n',
            "probe_rate: probes need an engine, and evals is pgn; set one of them otherwise",
        ),
        ('network = "mpl"\n', "network 'mpl' is not known; known are: mlp, resnet, transformer, table"),
        ("nodes = = 3\n", "not valid TOML: Invalid value (at line 1, column 9); mend it there"),
    ],
)
def test_check_finds_what_contradicts_itself_or_is_no_toml(toml, text: str, told: str) -> None:
    assert told_of(toml(text)) == [told]


def test_check_tries_the_queries(toml) -> None:
    (told,) = told_of(toml('[[agents]]\nname = "a"\nside = "white"\nwhere = "WhiteEllo > 3"\n'))
    assert told == "agents: where = 'WhiteEllo > 3': unknown column 'WhiteEllo'; did you mean WhiteElo?"


def test_check_says_of_a_file_that_is_not_there_how_to_write_one(tmp_path: Path) -> None:
    file = tmp_path / "rookery.toml"
    assert told_of(file) == [f"no such file; `rookery config init {file}` writes one"]


def test_what_this_host_lacks_is_noted_and_a_mistake_only_where_it_should_be_here(toml, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    file = toml(f'games = ["no.pgn"]\nengine = "stonefish"\nkeys = "{keys}"\n')
    lacking = [
        "no.pgn: no such file; check its name and place",
        "stonefish: no such engine; actors need it: install it or give another `engine`",
        f"{keys}: no such directory of keys; `rookery keys init --keys {keys}` makes it",
    ]
    done = rookery_config("check", file)
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [f"note, of this host: {file}: {line}" for line in lacking]
    assert done.stdout == f"{file}: no mistakes; it sets games, engine, keys otherwise than the defaults\n"
    assert told_of(file, "--here") == lacking
    (tmp_path / "games.pgn").write_text(GAME)
    whole = toml(f'{QUIET}games = ["{tmp_path / "games.pgn"}"]\n')
    assert rookery_config("check", whole, "--here").exit_code == 0


# show ---------------------------------------------------------------------------------------------------


def test_show_tells_each_value_and_where_it_comes_from(toml) -> None:
    file = toml(
        'nodes = 1\nseed = 1\ndiscount = 0.1\n[[agents]]\nname = "a"\nside = "both"\nwhere = "ECO == \'B00\'"\n'
    )
    environment = {"ROOKERY_NODES": "2", "ROOKERY_SEED": "2"}
    done = rookery_config("show", "--settings", file, "--nodes", "3", **environment)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "nodes = 3 # flag --nodes" in lines
    assert "seed = 2 # environment ROOKERY_SEED" in lines
    assert f"discount = 0.1 # file {file}: discount" in lines
    assert "batch_size = 512 # default" in lines
    assert "# limit_games is not set # default" in lines
    assert f"# agents: file {file}: agents" in lines


def test_what_show_prints_is_itself_a_settings_file(toml) -> None:
    file = toml('nodes = 1\nlog_files = true\n[[agents]]\nname = "a"\nside = "both"\nwhere = "ECO == \'B00\'"\n')
    settings = read_file(file)
    assert read_file(toml(rookery_config("show", "--settings", file).stdout)) == settings


def test_show_as_json_has_value_default_layer_place_and_help() -> None:
    shown = json.loads(rookery_config("show", "--json", "--nodes", "3").stdout)
    assert shown["nodes"] == {
        "value": 3, "default": 1000, "layer": "flag", "place": "--nodes", "help": "engine nodes per position",
    }  # fmt: skip
    assert shown["agents"]["value"][0] == {"name": "white", "side": "white", "where": None}
    assert set(shown) == set(Settings.__struct_fields__)
