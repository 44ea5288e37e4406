"""What `rookery up --verbose` shows of its services, and `--quiet` does not."""

import io
import logging
from pathlib import Path

from rich.console import Console

from common.tracing import span
from common.verbosity import Verbosity
from deploy.echo import echoed
from deploy.progress import Progress
from tests.watch.log_files import line, written


def console() -> Console:
    return Console(file=io.StringIO(), width=60)


def shown(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_verbose_it_shows_its_own_records_and_those_that_are_collected_from_now_on(tmp_path: Path) -> None:
    before = written(tmp_path / "rookery.jsonl", [line(0, event="before")])
    said = console()
    level = logging.getLogger().level
    with echoed(said, tmp_path, Verbosity.VERBOSE) as turn:
        logging.getLogger("deploy.supervisor").debug("service ended", extra={"service": "actor-0"})
        with before.open("ab") as file:
            path = written(tmp_path / "more", [line(1, event="[bold]"), line(2, level="DEBUG", event="late " * 20)])
            file.write(path.read_bytes()[:-5])
            turn()
            file.write(path.read_bytes()[-5:] + b"cut off\n")
        with span("engine"):
            pass
    assert shown(said)[0].endswith("DEBUG   up: service ended service=actor-0")
    assert [text.split(": ")[1] for text in shown(said)[1:]] == ["[bold]", "late " * 20]
    assert logging.getLogger().level == level


def test_otherwise_it_shows_nothing(tmp_path: Path) -> None:
    written(tmp_path / "rookery.jsonl", [])
    for verbosity in (Verbosity.NORMAL, Verbosity.QUIET):
        said = console()
        with echoed(said, tmp_path, verbosity) as turn:
            logging.getLogger("deploy.supervisor").error("service ended")
            turn()
        assert shown(said) == []


def test_what_is_collected_is_shown_with_each_status_and_at_the_end() -> None:
    turns: list[str] = []
    said = console()
    with Progress(said, lambda: turns.append("turn")) as progress:
        progress.note("note")
    assert turns == ["turn"]
    assert shown(said) == ["note"]
