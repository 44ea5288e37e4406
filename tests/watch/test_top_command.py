"""The command `rookery top` itself: in a terminal beside a real run, and where there is none."""

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from textual.geometry import Size

from tests.deploy.runs import Run, Started, stopped, wait_until

TOP = (sys.executable, "-c", "from common.options import run; from watch.top import top; run(top, 'rookery top')")
ESCAPES = re.compile(rb"\x1b(\[[0-9;?=>]*[a-zA-Z$]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>])")
SLOW = ("--nodes", "300000", "--games-per-unit", "2", "--limit-games", "20", "--network", "table")
"""Units that outlast the test."""


class Terminal:
    """A command in a terminal of its own; what it writes is read as lines without escapes."""

    def __init__(self, command: tuple[str, ...], size: Size) -> None:
        self._master, slave = pty.openpty()
        environment = {
            **os.environ,
            "LINES": str(size.height),
            "COLUMNS": str(size.width),
            "TERM": "xterm-256color",
        }
        os.set_blocking(self._master, False)
        subprocess.run(["stty", "rows", str(size.height), "cols", str(size.width)], stdin=slave, check=True)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self._written = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def press(self, key: str) -> None:
        self._written = b""
        os.write(self._master, key.encode())

    def shows(self, text: str) -> bool:
        """Whether this was written since the last key."""
        while select.select([self._master], [], [], 0)[0]:
            try:
                self._written += os.read(self._master, 65536)
            except OSError:  # it has ended
                break
        return text in ESCAPES.sub(b"", self._written).decode(errors="replace")

    def end(self) -> int:
        """Return the exit code of the command once it has ended, reading what it writes meanwhile."""
        wait_until(lambda: self.shows("") and self.process.poll() is not None, "the end")
        assert not self.shows("Traceback")
        return self.process.returncode

    def wait_for(self, *texts: str) -> None:
        for text in texts:
            wait_until(lambda text=text: self.shows(text), text)


@pytest.mark.slow
def test_top_watches_a_real_run_orders_its_actors_and_outlives_its_broker(
    tmp_path: Path, base_port: int, stockfish: str
) -> None:
    directory = tmp_path / "run"
    with Run(directory, *SLOW, base_port=base_port) as run:
        run.wait_for(lambda status: all(agent.leased for agent in status.agents), "the actors have work")
        with Terminal((*TOP, "--run", str(directory)), Size(160, 50)) as terminal:
            terminal.wait_for("Agents", "actor-1", "learner-white", "engines are busy", "service joined")
            terminal.press("p")
            terminal.wait_for("all 2 actors")
            terminal.press("y")
            run.wait_for(is_paused("actor-0"), "the actor is paused")
            terminal.wait_for("paused")
            with stopped(run.service("broker")):
                terminal.wait_for("no word from the broker")
            terminal.press("?")
            terminal.wait_for("any key closes this")
            terminal.press("?")
            terminal.wait_for("transitions/s")
            terminal.press("q")
            assert terminal.end() == 0


def is_paused(name: str) -> Callable[..., bool]:
    return lambda status: any(one.name == name and one.state == "paused" for one in status.services)


def test_without_a_terminal_it_says_what_to_use_instead(base_port: int) -> None:
    with Started([*TOP, "--base-port", str(base_port)]) as command:
        ended = command.end()
    assert ended.code == 2
    assert ended.line == "rookery top: it needs a terminal: `rookery status` prints how things stand"
