"""Reports of runs: what is there is shown, what is missing or damaged is said."""

import fcntl
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from common.errors import OperatorError, RunDirectoryError
from common.run_files import MANIFEST_FILE
from deploy.report import read_report
from deploy.report_command import names_of, report
from deploy.report_curves import reduced
from deploy.report_figures import DIFFERS
from deploy.report_run import Run, read_run
from deploy.starts import read_starts
from tests.deploy.reference import LIMIT_GAMES, UNITS, Reference

LOGS = [
    ("broker", "a", 0, "INFO", "started", {}),
    ("actor-0", "a", 0, "INFO", "started", {}),
    ("actor-0", "a", 2, "WARNING", "engine died", {"reason": "it hung"}),
    ("actor-0", "b", 0, "INFO", "started", {}),
    ("actor-0", "b", 1, "INFO", "stopped", {}),
    ("broker", "a", 1, "WARNING", "lease ran out", {"actor": "actor-0", "unit": 3}),
    ("broker", "a", 2, "WARNING", "deliveries repeated", {"batches": 4}),
    ("broker", "a", 3, "INFO", "service left", {"service": "actor-0", "why": "silent for long"}),
    ("broker", "a", 4, "INFO", "service left", {"service": "actor-0", "why": "goodbye"}),
    ("broker", "a", 5, "WARNING", "message dropped", {"reason": "<b>x</b>", "count": 1}),
    ("broker", "a", 6, "WARNING", "message dropped", {"reason": "<b>x</b>", "count": 10}),
]


@pytest.fixture
def run_directory(tmp_path: Path, reference: Reference) -> Path:
    """A copy of a real run, with logs of a rough night in the format of before."""
    directory = tmp_path / "rough"
    shutil.copytree(reference.directory, directory, ignore=shutil.ignore_patterns("checkpoints"))
    logs = directory / "logs"
    logs.mkdir(exist_ok=True)
    lines = [
        {
            "time": f"2026-11-22T02:56:{second:02}.331Z", "level": level, "service": service,
            "source": f"{service}.{session}", "number": number, "logger": "x", "event": event, "fields": fields,
        }
        for second, (service, session, number, level, event, fields) in enumerate(LOGS)
    ]  # fmt: skip
    (logs / "rookery.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def read(directory: Path) -> Run:
    return read_run(directory, directory.name)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(report, [str(argument) for argument in arguments])


class Links(HTMLParser):
    """What a page would load, and the tags that are open at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe"):
            self.loaded.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]


def page_of(*arguments: object) -> str:
    done = invoke(*arguments)
    assert done.exception is None, done.output
    return Path(done.output.strip().removeprefix("report written to ")).read_text("utf-8")


def test_a_page_holds_everything_and_loads_nothing(run_directory: Path) -> None:
    page = page_of(run_directory)
    links = Links()
    links.feed(page)
    assert all(link.startswith("#") for link in links.loaded)
    assert not re.findall(r"url\((?!#)", page)
    for text in (
        "every game learned from exactly once; accounting closed", "TD error", "Moves matched",
        "Transitions stored", "Faults survived", "SHA-256", DIFFERS + "run", "prefers-color-scheme: dark",
        "core seconds",
    ):  # fmt: skip
        assert text in page, text
    assert "<b>x</b>" not in page


def test_faults_are_counted_from_the_logs(run_directory: Path) -> None:
    faults = read(run_directory).facts.faults
    assert faults is not None
    assert (faults.killed, faults.leases_ran_out, faults.deliveries_repeated, faults.engine_deaths) == (1, 1, 4, 1)
    assert (faults.services_lost, faults.messages_dropped, faults.records_missing) == (1, 10, 1)
    assert faults.events[0].event == "message dropped"


def test_runs_are_compared_with_what_differs_marked(run_directory: Path, reference: Reference) -> None:
    other = run_directory.with_name("other")
    shutil.copytree(run_directory, other)
    content = json.loads((other / "report.json").read_text())
    content["settings"]["learning_rate"] = 0.5
    content["settings"]["of_another_release"] = "<i>yes</i>"
    (other / "report.json").write_text(json.dumps(content))
    page = page_of(run_directory, other, "--to", run_directory.with_name("both.html"))
    assert DIFFERS + "learning_rate" in page
    assert DIFFERS + "of_another_release" in page
    assert "&lt;i&gt;yes&lt;/i&gt;" in page
    assert DIFFERS + "batch_size" not in page
    assert "other: white" in page


def test_a_report_of_before_is_read(run_directory: Path) -> None:
    path = run_directory / "report.json"
    content = json.loads(path.read_text())
    for name in ("machine", "commit", "starts", "cost"):
        del content[name]
    path.write_text(json.dumps(content))
    (run_directory / "starts.jsonl").unlink()
    found = read_report(path)
    assert found is not None
    assert found.cost is None
    assert read(run_directory).facts.state == "finished"
    assert "Nothing is known of the cost" in page_of(run_directory)


DAMAGE = {
    "report.json": b'{"rookery": "0.1.0", "agents": [{',
    "origin.json": b"\xff\xfe",
    "agents/white/experience.db": b"SQLite format 3\x00 and no more",
    "agents/white/metrics.jsonl": b"\x00\x01\n",
    "agents/white/weights.safetensors": b"\xff" * 64,
    "evaluation.json": b"[]",
    "logs/rookery.jsonl": b'{"Timestamp": 3}\n\xff\n',
    "starts.jsonl": b"{",
}


@pytest.mark.parametrize("file", DAMAGE)
def test_a_damaged_piece_is_noted(run_directory: Path, file: str) -> None:
    before = set(read(run_directory).facts.notes)
    (run_directory / file).write_bytes(DAMAGE[file])
    if file == "agents/white/weights.safetensors":
        (run_directory / "report.json").unlink()  # else nobody looks at the weights
    assert set(read(run_directory).facts.notes) - before


def test_a_run_of_which_everything_is_damaged_has_a_page(run_directory: Path) -> None:
    for file, content in DAMAGE.items():
        (run_directory / file).write_bytes(content)
    page = page_of(run_directory)
    assert page.count("<li>") >= 5
    assert "Traceback" not in page


def test_a_run_with_nothing_but_settings_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("nodes = 5\n")
    facts = read(tmp_path).facts
    assert facts.state == "not finished"
    assert "not finished; accounting not known" in page_of(tmp_path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_run_that_goes_on_is_reported_as_such_from_its_stores(run_directory: Path) -> None:
    (run_directory / "report.json").unlink()
    with locked(run_directory / "lock"):
        run = read(run_directory)
    assert run.facts.state == "going on"
    (white, _) = run.facts.agents
    assert white.totals is not None
    assert white.totals.transitions > 0
    assert white.games_closed
    assert white.transitions_closed is None
    assert run.facts.faults is not None


@pytest.fixture
def of_services(run_directory: Path, reference: Reference) -> Path:
    """The run as services leave it that `rookery up` did not start; their settings file is beside it."""
    (run_directory / "settings.toml").rename(run_directory.with_name("rookery.toml"))
    for name in ("origin.json", "report.json", "starts.jsonl"):
        (run_directory / name).unlink()
    for newest in (
        max(reference.directory.glob(f"agents/{agent}/checkpoints/step-*")) for agent in ("white", "black")
    ):
        copy = run_directory / newest.relative_to(reference.directory)
        copy.mkdir(parents=True)
        shutil.copy(newest / MANIFEST_FILE, copy)
    return run_directory


def with_log(directory: Path, event: str, second: int = 30, service: str = "broker", **fields: object) -> None:
    line = {
        "time": f"2026-11-22T02:56:{second}.331Z", "level": "INFO", "service": service,
        "source": f"{service}.a", "number": 7, "logger": "x", "event": event, "fields": fields,
    }  # fmt: skip
    with (directory / "logs" / "rookery.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_a_run_of_services_is_finished_and_closed_by_its_stores_and_the_brokers_log(of_services: Path) -> None:
    settings = of_services.with_name("rookery.toml")
    assert f"trained on {UNITS} units; the total is not known here" in page_of(of_services, "--settings", settings)
    with_log(of_services, "sources read", units=UNITS, games=LIMIT_GAMES)
    facts = read_run(of_services, "x", settings).facts
    assert (facts.state, facts.games_total) == ("finished", LIMIT_GAMES)
    assert facts.settings["nodes"] == "100"
    page = page_of(of_services, "--settings", settings)
    assert "every game learned from exactly once; accounting closed" in page


def test_a_run_of_services_is_not_finished_before_its_last_unit_is_saved(of_services: Path) -> None:
    with_log(of_services, "sources read", units=UNITS, games=LIMIT_GAMES)
    manifest = next(of_services.glob("agents/white/checkpoints/*")) / MANIFEST_FILE
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "next_unit": UNITS - 1}))
    facts = read_run(of_services, "x", of_services.with_name("rookery.toml")).facts
    assert facts.state == "not finished"


def test_without_any_settings_the_report_says_how_to_give_them(of_services: Path) -> None:
    assert any("by --settings" in note for note in read(of_services).facts.notes)


def test_who_has_just_logged_is_not_called_killed(run_directory: Path) -> None:
    with_log(run_directory, "started", service="actor-7")
    faults = read(run_directory).facts.faults
    assert faults is not None
    assert faults.killed == 1  # the actor that began anew
    path = run_directory / "logs" / "rookery.jsonl"
    path.write_text(path.read_text().replace("02:56:30", "02:54:30"))
    faults = read(run_directory).facts.faults
    assert faults is not None
    assert faults.killed == 2


def test_what_draws_the_page_is_asked_for_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        name for name in sys.modules if name in ("deploy.report_page", "arena.page", "deploy.report_curves")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    error: Any = invoke(tmp_path / "gone").exception
    assert isinstance(error, OperatorError)
    assert error.exit_code == 2
    assert "pip install 'rookery[arena]'" in str(error)


def test_json_has_the_figures(run_directory: Path) -> None:
    (facts,) = json.loads(invoke(run_directory, "--json").output)
    assert facts["agents"][0]["totals"]["transitions"] > 0
    assert facts["cost"]["cpu_s"]["sequential"] > 0
    assert not (run_directory / "report.html").exists()


def test_a_directory_that_is_no_run_is_named_in_one_line(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "no run of Rookery"), (tmp_path / "gone", "there is no such directory")):
        error: Any = invoke(path).exception
        assert isinstance(error, RunDirectoryError)
        assert error.exit_code == 2
        assert said in str(error)


def test_a_start_says_what_it_cost_and_with_what_it_was_made(reference: Reference) -> None:
    (start,) = read_starts(reference.directory / "starts.jsonl")
    assert start.outcome == "finished"
    assert start.ended is not None
    assert start.started < start.ended
    assert start.machine is not None
    assert start.machine.cores >= 1
    assert start.cost is not None
    assert start.cost.engine_nodes > 0
    assert start.cost.cpu_s["sequential"] > 0
    found = read_report(reference.directory / "report.json")
    assert found is not None
    assert found.starts == [start]
    assert found.cost == start.cost


def test_names_are_as_long_as_it_takes_to_tell_runs_apart() -> None:
    assert names_of([Path("/runs/a"), Path("/runs/b")]) == ["a", "b"]
    assert names_of([Path("/x/run"), Path("/y/run")]) == ["x/run", "y/run"]


def test_a_long_curve_is_drawn_through_weighted_means() -> None:
    points = [(float(step), float(step % 2), 1.0 + step % 2) for step in range(1000)]
    drawn = reduced(points, 100)
    assert len(drawn) == 100
    assert drawn[0][0] == pytest.approx(4.5)
    assert all(y == pytest.approx(2 / 3) for _, y, _ in drawn)
