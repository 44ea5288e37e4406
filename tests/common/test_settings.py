import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import SettingsError
from common.settings import (
    IDENTITY,
    NAME_OF_AGENT,
    AgentSettings,
    EvaluationSource,
    Layer,
    Origin,
    Reward,
    Settings,
    Side,
    choices_of,
    differences,
    help_of,
    identity,
    origins,
    read_file,
    resolve,
    to_toml,
)

OTHER = {
    "games": ("a.pgn", 'odd "name".pgn'), "limit_games": 7, "games_per_unit": 3, "nodes": 12, "evals": "auto",
    "reward": "outcome", "discount": 0.5, "network": "resnet", "samples_per_transition": 1.5,
    "learning_rate": 1e-5, "batch_size": 8, "buffer_size": 1000, "publish_every": 6,
    "seed": 2**53, "run": "runs/ü\t\x7f", "actors": 4, "engine": "/opt/fish", "device": "cuda:1",
    "checkpoint_every": 9, "keep_checkpoints": 2, "max_units_ahead": 11, "lease_timeout_s": 0.25,
    "transport": "nats://a:1,b", "namespace": "other", "replicas": 3,
    "broker": "train1", "bind": "0.0.0.0", "base_port": 6000, "evaluations": "e.db", "log_level": "debug",
    "cooldown": 0.5, "sampling": "frequency", "held_out": 0.2, "probe_rate": 0.25, "probe_temperature": 0.5,
    "probe_exploration": 0.1,
    "probe_share": 0.75, "max_version_lag": 3,
    "log_files": True, "sequential": True, "trace": False, "tensorboard": False,
    "keys": "/etc/keys", "insecure": True, "operator": "anna",
}  # fmt: skip
"""A value for each setting that is not its default."""


@pytest.fixture
def toml(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "rookery.toml"
        path.write_text(text)
        return path

    return write


def refusal(*arguments) -> str:
    with pytest.raises(SettingsError) as caught:
        resolve(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_stand_where_nothing_is_given():
    assert resolve(None, {}, {}) == Settings()


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(toml):
    file = toml("nodes = 1\nseed = 1\ndiscount = 0.1\n")
    environment = {"ROOKERY_NODES": "2", "ROOKERY_SEED": "2"}
    settings = resolve(file, {"nodes": "3", "seed": None}, environment)
    assert (settings.nodes, settings.seed, settings.discount, settings.batch_size) == (3, 2, 0.1, 512)


def test_other_variables_of_the_environment_are_none_of_our_business():
    assert resolve(None, {}, {"PATH": "/bin", "XROOKERY_NODES": "2"}) == Settings()


def test_games_in_the_environment_are_separated_as_in_a_path():
    assert resolve(None, {}, {"ROOKERY_GAMES": "a.pgn:b.pgn"}).games == ("a.pgn", "b.pgn")
    assert resolve(None, {}, {"ROOKERY_GAMES": ""}).games == ()


def test_an_unknown_setting_in_the_file_is_named_with_the_nearest_known_one(toml):
    file = toml("batchsize = 3\n")
    assert refusal(file, {}, {}) == f"{file}: unknown setting batchsize; did you mean batch_size?"
    assert (
        refusal(toml("xyzzy = 3\n"), {}, {})
        == f"{file}: unknown setting xyzzy; `rookery config show` lists all settings"
    )


def test_an_unknown_setting_in_the_environment_is_named_with_the_nearest_known_one():
    told = refusal(None, {}, {"ROOKERY_NODE": "3"})
    assert told == "environment: unknown setting ROOKERY_NODE; did you mean ROOKERY_NODES?"


def test_an_unknown_setting_of_an_agent_is_named_with_the_nearest_known_one(toml):
    file = toml('[[agents]]\nname = "a"\nside = "white"\nwher = "x"\n')
    assert refusal(file, {}, {}) == f"{file}: agents[0]: unknown setting wher; did you mean where?"


@pytest.mark.parametrize(
    ("setting", "text", "told"),
    [
        ("nodes", "abc", "expected a whole number, got 'abc'"),
        ("nodes", "0", "expected a whole number >= 1, got '0'"),
        ("nodes", "1.5", "expected a whole number, got '1.5'"),
        ("discount", "1.1", "expected a number <= 1.0, got '1.1'"),
        ("discount", "nan", "expected a number >= 0.0, got 'nan'"),
        ("learning_rate", "0", "expected a number > 0.0, got '0'"),
        ("evals", "stockfish", "got 'stockfish'; it is one of engine, pgn, auto"),
        ("log_files", "maybe", "expected true or false, got 'maybe'"),
        ("base_port", "65530", "expected a whole number <= 65528, got '65530'"),
        ("limit_games", "none", "expected a whole number, got 'none'"),
        ("log_level", "loud", "got 'loud'; it is one of debug, info, warning, error"),
        ("device", "gpu", "got 'gpu'; it is one of auto, cpu, cuda, cuda:N, round-robin"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_told_with_where_it_was_set(toml, setting, text, told):
    flag = "--" + setting.replace("_", "-")
    assert refusal(None, {setting: text}, {}) == f"{flag}: {told}"
    assert refusal(None, {}, {f"ROOKERY_{setting.upper()}": text}) == f"ROOKERY_{setting.upper()}: {told}"
    file = toml(f'{setting} = "{text}"\n')
    assert refusal(file, {}, {}) == f"{file}: {setting}: {told}"


def test_a_bad_value_within_an_agent_is_told_with_its_place_and_the_choices(toml):
    file = toml('[[agents]]\nname = "a"\nside = "red"\n')
    told = "agents[0].side: got 'red'; it is one of white, black, both"
    assert refusal(file, {}, {}) == f"{file}: {told}"


@pytest.mark.parametrize("name", ["", "White", "a/b", "..", "a b", "white\n", "x" * 64])
def test_a_name_of_an_agent_that_can_be_no_directory_is_refused(name):
    assert "agents[0].name" in refusal(None, {"agents": [{"name": name, "side": "white"}]}, {})


def test_agents_must_be_some_and_called_differently():
    agent = {"name": "a", "side": "white"}
    assert refusal(None, {"agents": []}, {}).endswith(
        "at least one agent is needed; leave agents out for one of each colour"
    )
    assert refusal(None, {"agents": [agent, agent]}, {}).endswith("two agents are called the same: a; rename one")


def test_agents_in_the_environment_are_refused():
    assert "settings file" in refusal(None, {}, {"ROOKERY_AGENTS": "white"})


def test_a_file_name_that_is_not_utf_8_is_refused():
    assert refusal(None, {"games": ("caf\udce9.pgn",)}, {}).startswith("GAMES: 'caf\\udce9.pgn' is not UTF-8")
    assert refusal(None, {}, {"ROOKERY_RUN": "\udce9"}).startswith("ROOKERY_RUN: ")


def test_a_file_that_cannot_be_read_or_is_not_toml_is_told(toml, tmp_path):
    file = tmp_path / "none.toml"
    assert refusal(file, {}, {}) == f"{file}: no such file; `rookery config init {file}` writes one"
    assert "can't read the settings: Is a directory; give a file" in refusal(tmp_path, {}, {})
    assert "not valid TOML" in refusal(toml("nodes = = 3"), {}, {})
    (tmp_path / "latin.toml").write_bytes(b'run = "\xe9"')
    assert refusal(tmp_path / "latin.toml", {}, {}).endswith(
        "not valid TOML: byte 7 is not UTF-8; save it as UTF-8"
    )


def test_an_agent_that_lacks_something_is_told_what(toml):
    file = toml('[[agents]]\nside = "white"\n')
    assert refusal(file, {}, {}) == f"{file}: agents[0]: name is missing; an agent has a name and a side"
    told = refusal(None, {"agents": [{"name": "A b", "side": "white"}]}, {})
    assert told.endswith(f"got 'A b'; it is {NAME_OF_AGENT}")


def test_every_pattern_is_told_in_words():
    hints = {**get_type_hints(AgentSettings, include_extras=True), **get_type_hints(Settings, include_extras=True)}
    patterned = [
        name
        for name, hint in hints.items()
        for meta in get_args(hint)
        if isinstance(meta, msgspec.Meta) and meta.pattern
    ]
    assert [name for name in patterned if not choices_of(name)] == ["name"]


def test_each_layer_is_told_as_the_origin_of_what_it_sets(toml):
    file = toml("nodes = 1\nseed = 1\ndiscount = 0.1\n")
    found = origins(file, {"nodes": "3", "seed": None}, {"ROOKERY_NODES": "2", "ROOKERY_SEED": "2"})
    assert found["nodes"] == Origin(layer=Layer.FLAG, place="--nodes")
    assert found["seed"] == Origin(layer=Layer.ENVIRONMENT, place="ROOKERY_SEED")
    assert found["discount"] == Origin(layer=Layer.FILE, place=f"{file}: discount")
    assert found["batch_size"] == Origin(layer=Layer.DEFAULT, place=None)
    assert set(found) == set(Settings.__struct_fields__)


def test_the_table_of_other_values_covers_every_setting():
    assert {*OTHER, "agents"} == set(Settings.__struct_fields__)
    defaults = Settings()
    assert not [name for name in OTHER if getattr(resolve(None, OTHER, {}), name) == getattr(defaults, name)]


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_comes_back_from_toml(toml, name):
    settings = resolve(None, {name: OTHER[name]}, {})
    assert read_file(toml(to_toml(settings))) == settings


def test_settings_come_back_from_toml_with_their_agents(toml):
    agents = (
        AgentSettings(name="strong", side=Side.WHITE, where="WhiteElo > 2200 and Result != '*'"),
        AgentSettings(name="sicilian", side=Side.BLACK, where='ECO.str.startswith("B2") # "quoted" \\ \n'),
        AgentSettings(name="rest", side=Side.BLACK),
    )
    settings = msgspec.structs.replace(resolve(None, OTHER, {}), agents=agents)
    assert read_file(toml(to_toml(settings))) == settings


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(TEXT, TEXT, st.floats(0, 1000, exclude_min=True, width=64), st.floats(0, 1))
def test_any_text_and_number_comes_back_from_toml(text, query, number, discount):
    settings = Settings(
        run=text,
        games=(text, query),
        samples_per_transition=number,
        discount=discount,
        agents=(AgentSettings(name="a", side=Side.WHITE, where=query),),
    )
    assert resolve(None, tomllib.loads(to_toml(settings)), {}) == settings


def test_toml_tells_each_setting_with_its_help():
    lines = to_toml(Settings()).splitlines()
    assert "nodes = 1000  # engine nodes per position" in lines
    assert "# limit_games =  # stop after this many games" in lines


def test_every_setting_has_help():
    assert not [name for name in Settings.__struct_fields__ if name != "agents" and not help_of(name)]


def test_the_same_settings_have_the_same_identity_however_they_were_given(toml):
    by_flags = resolve(None, {"discount": "1", "evals": "pgn"}, {})
    by_file = read_file(toml('discount = 1.0\nevals = "pgn"\n'))
    assert identity(by_flags) == identity(by_file)
    assert set(identity(by_file)) == set(IDENTITY)


def test_what_may_change_from_start_to_start_is_not_in_the_identity():
    changed = Settings(actors=9, engine="x", run="y", games=("z",), lease_timeout_s=1.0, device="cpu")
    assert identity(changed) == identity(Settings())


def test_each_setting_that_decides_the_weights_makes_another_identity():
    for name in set(IDENTITY) - {"agents"}:
        assert list(identity(resolve(None, {name: OTHER[name]}, {})).items() - identity(Settings()).items())


def test_differences_are_named_with_both_values():
    theirs, ours = identity(Settings(nodes=5)), identity(Settings(nodes=6, evals=EvaluationSource.PGN))
    assert differences(theirs, ours) == ['evals is "engine" there, "pgn" here', "nodes is 5 there, 6 here"]
    assert differences({"a": "1"}, {}) == ["a is 1 there, not set here"]
    assert differences(ours, ours) == []


def test_an_agent_is_found_by_name_and_an_unknown_one_told_with_the_nearest():
    settings = Settings()
    assert settings.agent("black").side is Side.BLACK
    with pytest.raises(SettingsError, match="'whit'; the settings have: white, black; did you mean white"):
        settings.agent("whit")


def test_enums_and_paths_are_what_the_rest_of_the_code_takes_them_for():
    settings = resolve(None, OTHER, {})
    assert settings.reward is Reward.OUTCOME
    assert settings.directory == Path(OTHER["run"])
    assert settings.evaluations_path == Path("e.db")
    assert Settings(run="r").evaluations_path == Path("r/evaluations.db")


def test_probes_without_an_engine_are_refused(toml) -> None:
    with pytest.raises(
        SettingsError, match=r"^--probe-rate: probes need an engine, and evals is pgn; set one of them otherwise$"
    ):
        resolve(None, {"probe_rate": 0.1, "evals": "pgn"}, {})
    assert resolve(None, {"probe_rate": 0.1, "evals": "auto"}, {}).probe_rate == 0.1
    for name, value in (
        ("probe_rate", 1.1),
        ("probe_rate", -0.1),
        ("probe_temperature", -1.0),
        ("probe_exploration", 1.1),
    ):
        with pytest.raises(SettingsError, match=name.replace("_", "-")):
            resolve(None, {name: value}, {})


def test_an_agent_may_play_both_sides(toml) -> None:
    file = toml('[[agents]]\nname = "a"\nside = "both"\n')
    (agent,) = resolve(file, {}, {}).agents
    assert agent.side.colours == (Side.WHITE, Side.BLACK)
    assert Side.BLACK.colours == (Side.BLACK,)
    assert 'side = "both"' in to_toml(resolve(file, {}, {}))
