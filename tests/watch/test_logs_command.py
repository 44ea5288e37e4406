import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from common.errors import SettingsError
from common.log_lines import decode_line, encode_line
from tests.watch.log_files import line, written
from watch.logs_command import logs

COMMAND = "from watch.logs_command import logs\nfrom common.options import run\nrun(logs, 'rookery logs')"


def said(*arguments: object) -> list[str]:
    result = CliRunner().invoke(logs, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def process(*arguments: object, **others) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **others,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's directory with a rotated log and spans."""
    logs = tmp_path / "run" / "logs"
    lines = [line(number, fields={"unit": number // 4, "game": number}) for number in range(8)]
    written(logs / "rookery.jsonl.1", lines[:4])
    written(logs / "rookery.jsonl", [*lines[4:], line(9, level="ERROR", event="died", error="Traceback\n  deep")])
    written(logs / "trace.jsonl", [line(8, logger="trace", event="span", fields={"unit": 1})])
    return tmp_path / "run"


def test_the_lines_of_a_run_are_shown_for_people(run):
    shown = said("query", run)
    assert shown[0] == "2023-11-14T22:13:20.000Z INFO    actor-0: said unit=0 game=0"
    assert shown[8:] == [
        "2023-11-14T22:13:29.000Z ERROR   actor-0: died",
        "    Traceback",
        "      deep",
    ]


def test_a_directory_of_logs_is_as_good_as_the_run_and_a_file_is_itself_alone(run):
    assert said("query", run / "logs") == said("query", run)
    assert len(said("query", run / "logs" / "rookery.jsonl.1")) == 4
    assert len(said("query", run / "logs" / "rookery.jsonl")) == 7


def test_options_narrow_it_down_together(run):
    assert len(said("query", run, "--unit", 1)) == 4
    assert len(said("query", run, "--unit", 1, "--trace")) == 5
    assert len(said("query", run, "--game", 5, "--unit", 1)) == 1
    assert len(said("query", run, "--level", "error")) == 3
    assert len(said("query", run, "--since", "2023-11-14T22:13:22Z", "--until", "2023-11-14T22:13:24Z")) == 2
    assert said("query", run, "--service", "learner-*") == []
    assert len(said("query", run, "--text", "DIED")) == 3
    assert len(said("query", run, "--since", "1d")) == 0


def test_the_last_ones_are_shown_alone(run):
    assert [
        json.loads(text)["Attributes"]["log.record.number"] for text in said("query", run, "--tail", 2, "--json")
    ] == [7, 9]


def test_as_json_they_are_the_lines_that_they_were(run):
    lines = [decode_line(text.encode()) for text in said("query", run, "--json")]
    assert [each.number for each in lines] == [0, 1, 2, 3, 4, 5, 6, 7, 9]


def test_lines_of_several_runs_come_in_order(run, tmp_path):
    other = written(
        tmp_path / "south.jsonl", [line(number, at_s=number + 0.5, source="b.1") for number in range(3)]
    )
    shown = said("query", other, run, "--until", "2023-11-14T22:13:22Z")
    assert [text.split()[2] for text in shown] == ["actor-0:", "b:", "actor-0:", "b:"]


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_compressed_files_are_read(tmp_path, suffix, pack):
    path = tmp_path / f"north.jsonl{suffix}"
    path.write_bytes(pack(encode_line(line(0)) + b"\n"))
    assert len(said("query", path)) == 1
    assert len(said("merge", path)) == 1


def test_damaged_lines_are_said_to_be_passed_over(run):
    with (run / "logs" / "rookery.jsonl").open("ab") as file:
        file.write(b"{}\n")
    result = CliRunner().invoke(logs, ["query", str(run)])
    assert result.stderr == "1 damaged lines were passed over\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("query",), "Missing argument"),
        (("query", "{run}", "--since", "soon"), "'soon' is no time"),
        (("query", "{run}", "--level", "loud"), "'loud' is not one of 'debug'"),
        (("query", "{run}", "--unit", "-1"), "-1 is not in the range"),
        (("merge",), "Missing argument"),
    ],
)
def test_usage_errors_exit_with_2(run, arguments, told):
    result = CliRunner().invoke(logs, [argument.format(run=run) for argument in arguments])
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("query", "nowhere"), "nowhere: no such file or directory"),
        (("query", "."), r"\.: no rookery.jsonl in it or in its logs/"),
        (("query", "bad.gz"), "bad.gz: can't be read: Not a gzipped file"),
        (("merge", "bad.zst"), "bad.zst: damaged: "),
        (("query", "bad.gz", "--follow"), "bad.gz: is compressed, and nothing more comes to it"),
        (("merge", "good", "--to", "nowhere/all"), "nowhere/all: can't be written: No such file"),
    ],
)
def test_what_the_operator_has_to_mend_is_told_in_one_line(tmp_path, monkeypatch, arguments: Sequence[str], told):
    monkeypatch.chdir(tmp_path)
    for name in ("bad.gz", "bad.zst"):
        Path(name).write_bytes(b"not compressed")
    written(Path("good"), [line(0)])
    with pytest.raises(SettingsError, match=told):
        CliRunner().invoke(logs, arguments, catch_exceptions=False)


def test_colours_are_for_terminals_without_no_color(run):
    shown: dict[str, str] = {}
    for no_color in ("", "1"):
        primary, secondary = os.openpty()
        environment = os.environ | {"TERM": "xterm", "NO_COLOR": no_color}
        subprocess.run(
            [sys.executable, "-c", COMMAND, "query", str(run), "--tail", "1"],
            stdout=secondary, check=True, env=environment,
        )  # fmt: skip
        os.close(secondary)
        shown[no_color] = os.read(primary, 10_000).decode()
        os.close(primary)
    assert "\x1b[31m\x1b[1mERROR" in shown[""]
    assert "\x1b" not in shown["1"]
    assert "ERROR   actor-0: died" in shown["1"]


def test_followed_it_shows_what_is_written_also_after_a_rotation(run):
    path = run / "logs" / "rookery.jsonl"
    with process("query", run, "--follow", "--tail", "1", "--json") as following:
        assert following.stdout is not None
        assert decode_line(following.stdout.readline().encode()).number == 9
        with path.open("ab") as file:
            file.write(encode_line(line(10)) + b"\n")
        assert decode_line(following.stdout.readline().encode()).number == 10
        path.with_name("rookery.jsonl.1").replace(path.with_name("rookery.jsonl.2"))
        path.replace(path.with_name("rookery.jsonl.1"))
        written(path, [line(11)])
        assert decode_line(following.stdout.readline().encode()).number == 11
        following.send_signal(2)
        assert following.wait(10) == 130
        assert following.stderr is not None
        assert "Traceback" not in following.stderr.read()


def test_a_reader_that_has_enough_ends_it_without_a_word(tmp_path):
    path = written(tmp_path / "many", (line(number) for number in range(5000)))
    with process("query", path) as querying:
        assert querying.stdout is not None
        assert querying.stderr is not None
        querying.stdout.readline()
        querying.stdout.close()
        querying.wait(10)
        assert querying.stderr.read() == ""


def test_files_of_hosts_are_put_in_order(tmp_path):
    north = written(tmp_path / "north", [line(number, at_s=2 * number, source="a.1") for number in (2, 0, 1)])
    south = written(tmp_path / "south", [line(number, at_s=2 * number + 1, source="b.1") for number in range(3)])
    shown = [decode_line(text.encode()) for text in said("merge", north, south, north)]
    assert [(each.service, each.number) for each in shown] == [
        ("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_they_can_go_to_a_file(tmp_path, suffix):
    path = tmp_path / f"all.jsonl{suffix}"
    source = written(tmp_path / "north", [line(1), line(0)])
    result = CliRunner().invoke(logs, ["merge", str(source), str(source), "--to", str(path)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "2 records that were there twice were left out\n"
    assert [json.loads(text)["Attributes"]["log.record.number"] for text in said("query", path, "--json")] == [0, 1]
