"""The systemd unit of a service, filled in for a host.

The files in `systemd/` are whole units for the places in `STANDARD`; another host's unit is the same text with its
own places, and with what a service there has to see below /home, /root or /run/user, which are else hidden from it.
"""

import os
import re
import site
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from actor.engine_process import find_engine
from common.errors import EngineNotUsable, SettingsError
from common.settings import EvaluationSource, Settings

TEMPLATES = Path(__file__).parent / "systemd"
STATE_ROOT = Path("/var/lib")
"""Where systemd makes a service's directories itself."""
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user")))
"""What ProtectHome hides from a service."""
PRIVATE = tuple(map(Path, ("/tmp", "/var/tmp")))
"""Of what each service has one of its own."""
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+@,=-]*")


class ServiceKind(StrEnum):
    """What a unit can be had of."""

    BROKER = "broker"
    LOGS = "logs"
    LEARNER = "learner"
    ACTOR = "actor"
    DASHBOARD = "dashboard"
    NATS = "nats"
    """A NATS server, with a configuration for its settings and its store for a run directory."""
    TARGET = "target"
    """All services of the host together."""

    @property
    def file_name(self) -> str:
        """The unit's file name; a template, with `@`, where several may run on a host."""
        match self:
            case ServiceKind.TARGET:
                return "rookery.target"
            case ServiceKind.LEARNER | ServiceKind.ACTOR:
                return f"rookery-{self.value}@.service"
        return f"rookery-{self.value}.service"

    @property
    def program(self) -> str | None:
        """The file of the command that it runs; None for the target, which runs none."""
        match self:
            case ServiceKind.TARGET:
                return None
            case ServiceKind.DASHBOARD:
                return "rookery"
            case ServiceKind.NATS:
                return "nats-server"
        return f"rookery-{self.value}"

    @property
    def standard(self) -> "Places":
        """The places in its file."""
        return NATS if self is ServiceKind.NATS else STANDARD


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is on a host, and whose it is; paths from the root."""

    commands: Path
    """Directory of `rookery-broker` and the others."""
    settings: Path
    """The settings file."""
    directory: Path
    """The run directory."""
    user: str


STANDARD = Places(
    commands=Path("/opt/rookery/bin"),
    settings=Path("/etc/rookery/rookery.toml"),
    directory=Path("/var/lib/rookery"),
    user="rookery",
)
NATS = Places(
    commands=Path("/usr/sbin"),
    settings=Path("/etc/rookery/keys/nats/nats-server.conf"),
    directory=Path("/var/lib/rookery-nats"),
    user="rookery",
)
"""Where a NATS server's are; its directory is the `store_dir` of its configuration."""


def template(kind: ServiceKind) -> str:
    """Return the unit for the kind's `standard` places."""
    return (TEMPLATES / kind.file_name).read_text(encoding="utf-8")


def fill_in(kind: ServiceKind, places: Places, settings: Settings | None = None) -> str:
    """Return the unit for these places.

    With the host's settings, what they name is made visible. Raises SettingsError for a path that a service could
    never use, saying why.
    """
    for what, path in (
        ("--commands", places.commands), ("--settings", places.settings), ("--directory", places.directory),
    ):  # fmt: skip
        _check(what, path)
    unit, standard = template(kind), kind.standard
    for there, here in (
        (f"{standard.commands}/", f"{places.commands}/"),
        (f"--settings {standard.settings} ", f"--settings {places.settings} "),
        (f"-c {standard.settings} ", f"-c {places.settings} "),
        (f"--run {standard.directory}", f"--run {places.directory}"),
        (f"=-{standard.directory}/", f"=-{places.directory}/"),
        (f"User={standard.user}\n", f"User={places.user}\n"),
    ):
        unit = unit.replace(there, here)
    if kind is ServiceKind.TARGET:
        return unit
    if kind is ServiceKind.NATS:
        read = [places.commands, places.settings.parent]  # with the certificate and the users
    else:
        read = [places.commands, places.settings, *_python(), *_named(kind, settings)]
    written = [places.directory]
    if kind is ServiceKind.ACTOR and settings is not None and settings.evaluations is not None:
        written.append(_check("evaluations", Path(settings.evaluations)).parent)
    if kind is ServiceKind.DASHBOARD:
        read, written = [*read, places.directory], []
    else:
        unit = _with_directories(unit, standard.directory, *written)
    shown = sorted({path for path in read if _is_below(path, HIDDEN)})
    if shown or any(_is_below(path, HIDDEN) for path in written):
        lines = ["ProtectHome=tmpfs", *(f"BindReadOnlyPaths={path}" for path in _outermost(shown))]
        unit = unit.replace("ProtectHome=yes", "\n".join(lines))
    return unit


def _with_directories(unit: str, standard: Path, run: Path, *others: Path) -> str:
    """Return the unit with directories to write to: systemd makes the run's below STATE_ROOT, others are there."""
    below = os.path.relpath(run, STATE_ROOT)
    standard = standard.relative_to(STATE_ROOT)
    outside = [path for path in others if not path.is_relative_to(run)]
    if below.startswith("."):
        outside.insert(0, run)
        unit = re.sub(r"^StateDirectory(Mode)?=.*\n", "", unit, flags=re.MULTILINE)
    else:
        unit = re.sub(
            r"^StateDirectory=.*$",
            lambda line: re.sub(rf"(?<=[= ]){standard}(?=[/ ]|$)", below, line[0]),
            unit,
            flags=re.MULTILINE,
        )
    lines = [f"{'BindPaths' if _is_below(path, HIDDEN) else 'ReadWritePaths'}={path}\n" for path in outside]
    return unit.replace("UMask=", "".join(lines) + "UMask=")


def _python() -> Iterator[Path]:
    """Yield where the interpreter and our packages are: a virtual environment may lean on a Python elsewhere."""
    yield Path(sys.prefix)
    yield Path(sys.base_prefix)
    yield Path(os.path.realpath(sys.executable)).parent.parent
    yield Path(__file__).resolve().parent.parent
    if site.ENABLE_USER_SITE:
        yield Path(site.getusersitepackages())


def _named(kind: ServiceKind, settings: Settings | None) -> Iterator[Path]:
    """Yield what the settings name for this service to read."""
    if settings is None:
        return
    if settings.keys is not None:
        yield _check("keys", Path(settings.keys))
    if kind is ServiceKind.BROKER:
        for game in settings.games:
            yield _check("games", Path(game))
    if kind is ServiceKind.ACTOR and settings.evals is not EvaluationSource.PGN:
        try:
            yield _check("engine", Path(find_engine(settings.engine)).resolve())
        except EngineNotUsable:
            pass  # `doctor` and the service itself say so


def _check(what: str, path: Path) -> Path:
    """Return the path; raise SettingsError for one that can't stand in a unit, or that its service couldn't see."""
    if not path.is_absolute():
        raise SettingsError(f"{what}: {path} is relative, but a service starts in /: give the path from the root")
    if _is_below(path, PRIVATE):
        raise SettingsError(f"{what}: {path}: each service has a /tmp and a /var/tmp of its own: put it elsewhere")
    if not _PLAIN_PATH.fullmatch(str(path)):
        raise SettingsError(f"{what}: {str(path)!r}: only letters, digits and / . _ + @ , = - can stand in a unit")
    return path


def _is_below(path: Path, roots: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _outermost(paths: list[Path]) -> list[Path]:
    """Return those of the sorted paths that lie in none of the others."""
    found: list[Path] = []
    for path in paths:
        if not found or not path.is_relative_to(found[-1]):
            found.append(path)
    return found
