"""The systemd units: right and tight as files, filled in for a host, and at work under a real systemd."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import chess
import msgspec
import pytest
from click.testing import CliRunner

from agent.weights import digest, load_weights
from common.messages import Status
from common.settings import DEFAULT_AGENTS, Settings
from deploy.systemd_command import systemd
from deploy.systemd_unit import NATS, STANDARD, TEMPLATES, Places, ServiceKind, fill_in, template
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from tests.deploy.machine import Machine, NoMachine
from tests.deploy.reference import EVERY_UNIT, FLAGS, Reference
from tests.deploy.runs import COMMANDS, ROOT, Started
from watch import dashboard_command

SERVICES = [kind for kind in ServiceKind if kind is not ServiceKind.TARGET]
OURS = [kind for kind in SERVICES if kind is not ServiceKind.NATS]
EXPOSURE_MAX = 2.0
OPERATIONS = ROOT / "docs" / "operations.md"


def analyze(*words: str | Path) -> str:
    """Run systemd-analyze; return what it prints."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here (Debian: systemd)")
    done = subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with every unit, filled in for this host."""
    if any(COMMANDS.is_relative_to(root) for root in ("/tmp", "/var/tmp")):
        pytest.skip("installed below /tmp, which services can't see")
    places = Places(COMMANDS, STANDARD.settings, STANDARD.directory, STANDARD.user)
    for kind in ServiceKind:
        (tmp_path / kind.file_name).write_text(
            fill_in(kind, places if kind in (*OURS, ServiceKind.TARGET) else NATS)
        )
    return tmp_path


# The files ---------------------------------------------------------------------------------------------


def test_there_is_a_unit_for_each_service_and_none_else() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} == {kind.file_name for kind in ServiceKind}


def test_systemd_has_nothing_to_say_against_the_units(units: Path) -> None:
    said = analyze("verify", *sorted(units.iterdir())).splitlines()
    assert [line for line in said if "rookery" in line] == []  # it may speak of the host's own units, too


@pytest.mark.parametrize("kind", SERVICES)
def test_a_unit_exposes_little(units: Path, kind: ServiceKind) -> None:
    if "--offline" not in analyze("--help"):
        pytest.skip("this systemd-analyze can't look at units that are not installed (it is before 250)")
    said = analyze("security", "--offline=true", units / kind.file_name)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= EXPOSURE_MAX


@pytest.mark.parametrize("kind", OURS)
def test_every_service_says_when_it_is_ready_and_is_watched_and_reloads(kind: ServiceKind) -> None:
    lines = template(kind).splitlines()
    for line in (
        "Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "KillMode=mixed", "Restart=on-failure",
        "RestartPreventExitStatus=2 3", "User=rookery", "PartOf=rookery.target", "WantedBy=rookery.target",
    ):  # fmt: skip
        assert line in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)


# Filled in ---------------------------------------------------------------------------------------------


def visible(unit: str) -> list[str]:
    """Return the lines that open /home, /root and /run/user: where this interpreter lies is this host's affair."""
    return [
        line for line in unit.splitlines() if line.startswith(("ProtectHome=", "BindReadOnlyPaths=", "BindPaths="))
    ]


@pytest.mark.parametrize("kind", ServiceKind)
def test_filled_in_with_the_standard_places_a_unit_is_its_file(
    kind: ServiceKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.systemd_unit._python", list)
    assert fill_in(kind, kind.standard) == template(kind)


def test_other_places_take_the_place_of_the_standard_ones() -> None:
    places = Places(Path("/srv/bin"), Path("/etc/a.toml"), Path("/var/lib/runs/first"), "chess")
    unit = fill_in(ServiceKind.LEARNER, places)
    assert (
        "\nExecStart=/srv/bin/rookery-learner --settings /etc/a.toml --run /var/lib/runs/first --agent %i\n" in unit
    )
    assert "\nUser=chess\n" in unit
    assert "\nStateDirectory=runs/first/logs runs/first/agents/%i\n" in unit
    assert "/opt/rookery" not in unit
    assert "/var/lib/rookery" not in unit
    actor = fill_in(ServiceKind.ACTOR, places)
    assert "\nStateDirectory=runs/first\n" in actor
    assert "\nInaccessiblePaths=-/var/lib/runs/first/agents\n" in actor


def test_a_directory_outside_of_systemds_own_is_opened_for_writing() -> None:
    unit = fill_in(ServiceKind.BROKER, Places(STANDARD.commands, STANDARD.settings, Path("/data/run"), "rookery"))
    assert "\nReadWritePaths=/data/run\n" in unit
    assert "StateDirectory" not in unit


def test_what_lies_in_a_home_is_shown_and_nothing_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.systemd_unit._python", lambda: [Path("/home/eve/venv"), Path("/home/eve/venv/bin")])
    places = Places(Path("/home/eve/venv/bin"), STANDARD.settings, Path("/home/eve/run"), "eve")
    unit = fill_in(ServiceKind.BROKER, places, Settings(games=("/srv/a.pgn", "/root/b.pgn"), keys="/home/eve/keys"))
    assert visible(unit) == [
        "BindPaths=/home/eve/run", "ProtectHome=tmpfs", "BindReadOnlyPaths=/home/eve/keys",
        "BindReadOnlyPaths=/home/eve/venv", "BindReadOnlyPaths=/root/b.pgn",
    ]  # fmt: skip


@pytest.mark.parametrize("directory", ["/data/run", "/home/eve/run"])
def test_the_dashboard_reads_the_run_and_writes_nowhere(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.systemd_unit._python", list)
    places = Places(STANDARD.commands, STANDARD.settings, Path(directory), "eve")
    unit = fill_in(ServiceKind.DASHBOARD, places)
    assert f"/rookery dashboard --settings {STANDARD.settings} --run {directory} $OPTIONS\n" in unit
    assert "StateDirectory" not in unit
    assert "ReadWritePaths" not in unit
    hidden = ["ProtectHome=tmpfs", f"BindReadOnlyPaths={directory}"]
    assert visible(unit) == (hidden if directory.startswith("/home") else ["ProtectHome=yes"])


def test_a_store_of_evaluations_elsewhere_is_the_actors_to_write() -> None:
    elsewhere = Settings(evaluations="/srv/cache/evaluations.db")
    assert "\nReadWritePaths=/srv/cache\n" in fill_in(ServiceKind.ACTOR, STANDARD, elsewhere)
    assert "/srv/cache" not in fill_in(ServiceKind.LEARNER, STANDARD, elsewhere)
    inside = Settings(evaluations="/var/lib/rookery/e.db")
    assert "ReadWritePaths" not in fill_in(ServiceKind.ACTOR, STANDARD, inside)


BELOW_TMP = any(COMMANDS.is_relative_to(root) for root in ("/tmp", "/var/tmp"))
visible_commands = pytest.mark.skipif(BELOW_TMP, reason="installed below /tmp, which services can't see")


@visible_commands
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["bakery"], "'bakery' is not one of 'broker', 'logs', 'learner', 'actor', 'dashboard', 'nats', 'target'."),
        (["broker", "--settings", "nowhere.toml"], "nowhere.toml: no such file"),
        (["broker", "--user", "no-such-user"], "--user: no user 'no-such-user' on this host; make it"),
        (["broker", "--directory", "/tmp/run"], "--directory: /tmp/run: each service has a /tmp and a /var/tmp of"),
        (["broker", "--directory", "/srv/a b"], "--directory: '/srv/a b': only letters, digits and / . _ +"),
        (["broker", "--directory", "/srv/100%"], "--directory: '/srv/100%': only letters, digits and / . _ +"),
        (["target", "--to", "/proc"], "/proc/rookery.target"),
        (["broker", "--commands", "/usr"], "no rookery-broker in /usr; say where it is with --commands"),
        (["dashboard", "--commands", "/usr"], "no rookery in /usr; say where it is with --commands"),
        (["nats", "--commands", "/usr"], "no nats-server in /usr; say where it is with --commands"),
    ],
)
def test_bad_input_is_one_clear_line(options: list[str], line: str) -> None:
    with Started(("rookery", "systemd", *options)) as command:
        ended = command.end()
    assert (ended.code, ended.out) == (2, "")
    assert line in ended.line


def test_a_relative_path_in_the_settings_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rookery.toml"
    file.write_text('games = ["games.pgn"]\n')
    found = CliRunner().invoke(systemd, ["broker", "--settings", str(file)], standalone_mode=False)
    assert "is relative" in str(found.exception) or "/tmp of its own" in str(found.exception)


def test_a_nats_servers_unit_has_its_configuration_and_its_store() -> None:
    places = Places(Path("/opt/nats"), Path("/home/eve/nats/n1.conf"), Path("/var/lib/nats/n1"), "nats")
    lines = fill_in(ServiceKind.NATS, places).splitlines()
    for line in (
        "ExecStart=/opt/nats/nats-server -c /home/eve/nats/n1.conf --name %H", "StateDirectory=nats/n1",
        "User=nats", "ProtectHome=tmpfs", "BindReadOnlyPaths=/home/eve/nats",
    ):  # fmt: skip
        assert line in lines
    elsewhere = fill_in(ServiceKind.NATS, Places(NATS.commands, NATS.settings, Path("/data/nats"), "nats"))
    assert "\nReadWritePaths=/data/nats\n" in elsewhere
    assert "StateDirectory" not in elsewhere


@pytest.mark.parametrize(
    ("configuration", "note"),
    [
        ("port: 4222\n", "store_dir in {} is missing: it has to be /var/lib/rookery-nats"),
        (
            'jetstream {\n  store_dir: "/srv/nats"\n}',
            "store_dir in {} is /srv/nats: it has to be /var/lib/rookery-nats",
        ),
        ('jetstream {\n  store_dir: "/var/lib/rookery-nats"\n}', None),
    ],
)
def test_a_store_that_a_nats_server_could_not_write_to_is_noted(configuration: str, note: str | None) -> None:
    with TemporaryDirectory(dir=ROOT) as folder:  # not below /tmp, which services can't see
        file = Path(folder) / "nats-server.conf"
        file.write_text(configuration)
        printed = CliRunner().invoke(systemd, ["nats", "--settings", str(file)], standalone_mode=False)
    notes = [line for line in printed.stderr.splitlines() if "store_dir" in line]
    assert notes == ([f"note: {note.format(file)}"] if note else [])


@visible_commands
def test_a_dashboard_that_is_not_installed_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_command, "NEEDED", ("no_such_package",))
    printed = CliRunner().invoke(systemd, ["dashboard"], standalone_mode=False)
    line = "note: the dashboard needs no_such_package: pip install 'rookery[dashboard]'"
    assert line in printed.stderr.splitlines()


@visible_commands
def test_the_unit_is_printed_under_the_name_of_its_file_or_written_there(tmp_path: Path) -> None:
    printed = CliRunner().invoke(systemd, ["actor"], standalone_mode=False)
    assert printed.stdout.startswith("# /etc/systemd/system/rookery-actor@.service\n[Unit]\n")
    CliRunner().invoke(systemd, ["actor", "--to", str(tmp_path)], standalone_mode=False)
    assert (tmp_path / "rookery-actor@.service").read_text() == printed.stdout


# At work -----------------------------------------------------------------------------------------------

BROKER, LOGS, DASHBOARD = "rookery-broker.service", "rookery-logs.service", "rookery-dashboard.service"
LEARNERS = ("rookery-learner@white.service", "rookery-learner@black.service")
ACTORS = ("rookery-actor@1.service", "rookery-actor@2.service")
ALL_BUT_ACTORS = (BROKER, LOGS, *LEARNERS, DASHBOARD)
FLEET = (*ALL_BUT_ACTORS, *ACTORS)
WATCHED = "[Service]\nWatchdogSec=8s\n"
"""For the test's patience; a machine that is busy for so long would be another matter."""
PASSWORD = "not-to-be-guessed-in-a-test"
ASK = """
import http.client, sys
path, password = sys.argv[1:]
page = http.client.HTTPConnection("127.0.0.1", 5760)
page.request("GET", path, headers={"Authorization": f"Bearer {password}"})
answer = page.getresponse()
print(answer.status, answer.read().decode())
"""
"""A program that prints what the dashboard answers to one who shows a password."""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A booted machine; skips, with the reason, where there can't be one."""
    made = Machine(tmp_path / "machine")
    try:
        with made:
            made.boot()
            yield made
    except NoMachine as error:
        pytest.skip(str(error))


def settings_text(reference: Reference, **changes: object) -> str:
    values: dict[str, object] = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True))
    lines = [f"{flag.removeprefix('--').replace('-', '_')} = {value}" for flag, value in values.items()]
    games = [f"/srv/games/{game.name}" for game in reference.games]
    lines += [f"games = {json.dumps(games)}", "max_units_ahead = 2"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in changes.items()]
    return "\n".join(lines) + "\n"


def documented_options() -> str:
    """The drop-in for the dashboard in the documentation."""
    (found,) = [
        text
        for text in re.findall(r"^```ini\n(.*?)^```", OPERATIONS.read_text(encoding="utf-8"), re.M | re.S)
        if "OPTIONS=" in text
    ]
    return found


@pytest.mark.slow
@visible_commands
def test_the_fleet_lives_under_a_real_systemd(machine: Machine, reference: Reference, tmp_path: Path) -> None:
    settings = machine.root / "etc/rookery/rookery.toml"
    (machine.root / "srv/games").mkdir(parents=True)
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(settings_text(reference))
    for game in reference.games:
        shutil.copy(game, machine.root / "srv/games")
    machine.run("useradd", "--system", "--home-dir", "/var/lib/rookery", "rookery")
    for kind in (*OURS, ServiceKind.TARGET):
        unit = machine.root / "etc/systemd/system" / kind.file_name
        machine.run(COMMANDS / "rookery", "systemd", kind.value, "--to", "/etc/systemd/system")
        if kind is not ServiceKind.TARGET:
            unit.with_name(f"{unit.name}.d").mkdir()
            (unit.with_name(f"{unit.name}.d") / "watchdog.conf").write_text(WATCHED)

    def everywhere(name: str, value: str) -> bool:
        return all(machine.shows(unit, name) == value for unit in FLEET)

    def pids() -> dict[str, str]:
        return {unit: machine.shows(unit, "MainPID") for unit in FLEET}

    def page(path: str, password: str = "") -> str:
        return machine.run(sys.executable, "-c", ASK, path, password)

    # Two learners without an actor to feed them, so that the run is not over before its time.
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", "rookery.target", *ALL_BUT_ACTORS)
    # `systemctl start` comes back once each has said that it works.
    assert all(machine.shows(unit, "SubState") == "running" for unit in ALL_BUT_ACTORS)
    assert page("/metrics").startswith("200 ")

    settings.write_text(settings_text(reference, log_level="debug"))
    machine.run("systemctl", "reload", *ALL_BUT_ACTORS)
    for unit in ALL_BUT_ACTORS:
        machine.wait_until(lambda unit=unit: "settings read again" in machine.journal(unit), "a reload", unit)
    settings.write_text(settings_text(reference, log_levl="debug"))
    machine.run("systemctl", "reload", *ALL_BUT_ACTORS)
    told = "settings not read again: going on as before"
    for unit in ALL_BUT_ACTORS:
        machine.wait_until(lambda unit=unit: told in machine.journal(unit), "a refused reload", unit)
        assert "unknown setting log_levl; did you mean log_level?" in machine.journal(unit)
    settings.write_text(settings_text(reference))

    drop_in = machine.root / f"etc/systemd/system/{DASHBOARD}.d/override.conf"
    drop_in.write_text(documented_options())
    (machine.root / "etc/rookery/dashboard-password").write_text(f"{PASSWORD}\n")
    (machine.root / "etc/rookery/dashboard-password").chmod(0o600)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", DASHBOARD)
    assert page("/metrics").startswith("401 ")
    figure = "rookery_broker_up 1.0"
    machine.wait_until(lambda: figure in page("/metrics", PASSWORD), "figures of the broker", DASHBOARD)
    assert PASSWORD not in machine.journal(DASHBOARD)

    machine.run("systemctl", "enable", "--now", *ACTORS)
    before = pids()
    hung = (BROKER, LOGS, LEARNERS[0], ACTORS[0], DASHBOARD)
    machine.run("kill", "-STOP", *(before[unit] for unit in hung))
    for unit in hung:
        machine.wait_until(lambda unit=unit: machine.shows(unit, "NRestarts") != "0", "a restart", unit)
        assert "Watchdog timeout" in machine.journal(unit)
        assert "Fatal Python error: Aborted" in machine.journal(unit)  # and where it hung
    machine.run("kill", "-KILL", before[ACTORS[1]])
    machine.wait_until(lambda: machine.shows(ACTORS[1], "NRestarts") != "0", "a restart", ACTORS[1])

    def is_finished() -> bool:
        said = machine.run(
            COMMANDS / "rookery", "status", "--json", "--settings", "/etc/rookery/rookery.toml", check=False
        )
        if not said:
            return False
        learners = [
            service.learner for service in msgspec.json.decode(said, type=Status).services if service.learner
        ]
        return len(learners) == len(DEFAULT_AGENTS) and all(learner.finished for learner in learners)

    machine.wait_until(is_finished, "the end of the training", "rookery-*")
    assert everywhere("ActiveState", "active")
    assert all(machine.shows(unit, "StatusText") for unit in FLEET)
    judged = page(f"/api/judge?fen={quote(chess.STARTING_FEN)}", PASSWORD)  # by the files of the learners
    assert judged.startswith("200 "), judged

    machine.run("systemctl", "stop", "rookery.target")
    machine.wait_until(lambda: everywhere("ActiveState", "inactive"), "the end of all services", "rookery-*")
    assert everywhere("Result", "success")
    assert everywhere("ExecMainStatus", "0")
    assert machine.run("pgrep", "stockfish", check=False) == ""

    # What only the operator can mend is not tried again and again.
    machine.run("systemctl", "start", "rookery-learner@nobody", check=False)
    assert machine.shows("rookery-learner@nobody", "ExecMainStatus") == "2"
    assert machine.shows("rookery-learner@nobody", "NRestarts") == "0"
    assert machine.shows("rookery-learner@nobody", "ActiveState") == "failed"
    errors = machine.run("journalctl", "--no-pager", "--priority=err", "--unit=rookery-learner@nobody")
    assert "rookery-learner: no agent is called 'nobody'" in errors

    for agent in DEFAULT_AGENTS:
        files = AgentDirectory.of(machine.root / "var/lib/rookery", agent.name)
        with ExperienceReader(files.experience, agent) as store:
            assert store.intervals() == EVERY_UNIT
            assert store.totals() == reference.totals[agent.name]
        assert digest(load_weights(files.weights)[0]) == reference.weights[agent.name]
        assert files.path.stat().st_mode & 0o077 == 0o050
