"""The dashboard as an operator starts it: by its own command, and beside a whole run."""

import http.client
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from common.errors import OperatorError
from tests.deploy.runs import COMMANDS, Run, Started, wait_until
from tests.watch.served import Served
from watch import dashboard_command
from watch.dashboard_command import dashboard

SLOW = ("--network", "table", "--nodes", "1000", "--games-per-unit", "1", "--actors", "1", "--max-units-ahead", "4")


def page_at(port: int) -> Served:
    """What asks a dashboard that runs in a process of its own."""
    return Served(None, port)  # type: ignore[arg-type]


def refused(*arguments: str) -> str:
    """The one line with which the command ends."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ended: Result = CliRunner().invoke(dashboard, arguments)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert isinstance(ended.exception, OperatorError), ended
    return str(ended.exception)


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("--run", str(tmp_path), "--port", str(port))
    assert line == f"can't listen on 127.0.0.1 port {port}: Address already in use; choose another --port"


def test_a_directory_that_is_not_there_and_a_port_that_is_none_are_refused(tmp_path: Path) -> None:
    assert "no such directory" in refused("--run", str(tmp_path / "none"))
    assert "port 65536 is none" in refused("--run", str(tmp_path), "--base-port", "65526")


def test_orders_from_elsewhere_take_keys(tmp_path: Path) -> None:
    assert "--keys" in refused("--run", str(tmp_path), "--allow-orders")


def test_a_password_that_is_too_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    assert "can't be read" in refused("--run", str(tmp_path), "--password-file", str(file))
    file.write_text("short\n")
    assert "16 characters or more" in refused("--run", str(tmp_path), "--password-file", str(file))


def test_a_password_is_drawn_wherever_others_may_come() -> None:
    assert dashboard_command._password("127.0.0.1", (), None) is None
    assert dashboard_command._password("127.0.0.1", ("proxy.example",), None)
    assert dashboard_command._password("0.0.0.0", (), None)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_command, "NEEDED", ("no_such_package", "chess"))
    line = refused("--run", str(tmp_path))
    assert line == "the dashboard needs no_such_package: pip install 'rookery[dashboard]'"


def test_the_modules_that_parse_options_load_none_of_the_extra() -> None:
    code = "import sys, watch.dashboard_command as c; print(*(n for n in c.NEEDED if n in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_off_loopback_it_prints_an_address_with_a_token_and_ends_at_the_first_interrupt(tmp_path: Path) -> None:
    module = (Path(sys.executable).name, "-m", "watch.dashboard_command")
    flags = ("--run", str(tmp_path), "--bind", "0.0.0.0", "--port", "0")
    with Started((*module, *flags), environment={"PYTHONUNBUFFERED": "1"}) as command:
        assert command.process.stdout is not None
        line = command.process.stdout.readline().decode()
        found = re.fullmatch(r"dashboard: http://(.+):(\d+)/\?token=([\w-]{32})\n", line)
        assert found is not None, line
        page, token = page_at(int(found[2])), found[3]
        assert found[1] == socket.gethostname()
        assert page.ask("/api/state").code == 401
        shown = {"Authorization": f"Bearer {token}"}
        assert page.ask("/api/state", **shown, Host=f"{found[1]}:{found[2]}").code == 200
        with page.events(**shown) as events:
            assert next(events)[0] == "status"
            command.process.send_signal(signal.SIGINT)
            ended = command.end(20.0)
    assert ended.code == 0
    assert ended.line.endswith("INFO    dashboard: ready")


def test_one_that_was_typed_ends_with_its_terminal(tmp_path: Path) -> None:
    terminal, stdin = pty.openpty()
    command = subprocess.Popen(
        [COMMANDS / "rookery", "dashboard", "--run", str(tmp_path), "--port", "0", "--quiet"],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert command.stdout is not None
        assert command.stdout.readline().startswith("dashboard: http://127.0.0.1:")
        command.send_signal(signal.SIGHUP)
        _, err = command.communicate(timeout=20.0)
        assert (command.returncode, err) == (-signal.SIGHUP, "")
    finally:
        command.kill()
        os.close(stdin)
        os.close(terminal)


@pytest.mark.slow
def test_a_run_serves_its_dashboard_as_long_as_it_lasts(tmp_path: Path, base_port: int, stockfish: str) -> None:
    keys, run_directory = tmp_path / "keys", tmp_path / "run"
    with Started(("rookery", "keys", "init", "--keys", str(keys))) as command:
        assert command.end().code == 0
    port = base_port + 7
    flags = ("--dashboard", "--dashboard-port", str(port), "--keys", str(keys))
    with Run(run_directory, *SLOW, *flags, base_port=base_port) as run:
        run.wait_for_line(f"dashboard: http://127.0.0.1:{port}")
        page = page_at(port)
        wait_until(lambda: _status(page) is not None, "the dashboard hears from the broker")
        wait_until(lambda: page.ask("/api/game").code == 200, "an actor tells of a game")
        wait_until(lambda: bool(page.ask("/api/spans").json["spans"]), "spans are told")
        assert page.ask("/api/logs?text=started").json["logs"]
        figure = 'rookery_actor_positions_total{actor="actor-0"'
        wait_until(lambda: figure in page.ask("/metrics").text, "the actor's figures are there")
        with page.events() as events:
            assert next(events)[0] == "status"
        token = page.ask("/api/state").json["order_token"]
        order = {"action": "pause", "names": ["actor-0"]}
        assert page.ask("/api/order", order).code == 403
        assert page.ask("/api/order", order, X_Rookery_Token=token).json["names"] == ["actor-0"]
        wait_until(lambda: _state_of(page, "actor-0") == "paused", "the actor pauses")
        page.ask("/api/order", {"action": "resume"}, X_Rookery_Token=token)
        wait_until(lambda: _state_of(page, "actor-0") != "paused", "the actor goes on")
        run.process.terminate()
        ended = run.end()
        assert run.processes() == []
    assert (ended.code, ended.err) == (0, "")
    with pytest.raises(OSError):
        page.ask("/")


def _status(page: Served) -> object:
    try:
        return page.ask("/api/state").json["status"]
    except (OSError, http.client.HTTPException):
        return None  # not yet


def _state_of(page: Served, actor: str) -> str:
    found = [service for service in page.ask("/api/state").json["status"]["services"] if service["name"] == actor]
    return found[0]["state"] if found else ""


@pytest.mark.slow
def test_a_run_refuses_a_dashboard_where_it_can_serve_none(tmp_path: Path, base_port: int, stockfish: str) -> None:
    with Run(tmp_path / "a", *SLOW, "--dashboard", "--sequential", base_port=base_port) as run:
        assert "--dashboard: a sequential run has no broker to watch" in run.end().line
    with socket.create_server(("127.0.0.1", base_port + 10)):
        with Run(tmp_path / "b", *SLOW, "--dashboard", base_port=base_port) as run:
            assert "choose another --dashboard-port" in run.end().line
