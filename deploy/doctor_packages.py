"""The doctor's look at Python and the packages: what is there, what is missing, and which extra brings it."""

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

from common.messages import PROTOCOL_VERSION
from common.security import ZMQ
from common.settings import Settings
from deploy.finding import Facts, Finding, fail, ok, warn

PYTHON_MIN = (3, 11)
_REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)\s*>=\s*(?P<least>[0-9.]+)\s*(?:;\s*extra\s*==\s*[\"'](?P<extra>\w+)[\"'])?$"
)
_EXTRAS = {
    "actor": "actors and `rookery annotate`",
    "probes": "actors with --probe-rate",
    "learner": "learners, `rookery up` and `rookery export`",
    "arena": "`rookery evaluate`, `match`, `uci` and `play`",
}
_EXTRAS_ON_NATS = {"nats": "everything on NATS"}
_MODULES = {"nats-py": "nats", "pyzmq": "zmq"}
"""Where a package's module is called otherwise."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package that Rookery needs."""

    name: str
    least: str
    """Lowest version."""
    extra: str | None
    """The extra that brings it; None for what everything needs."""


def requirements(lines: list[str]) -> list[Requirement]:
    """Return the plain requirements among a distribution's; those of one extra by another are left out."""
    found = (_REQUIREMENT.match(line.strip()) for line in lines)
    return [Requirement(match["name"], match["least"], match["extra"]) for match in found if match]


def check_packages(settings: Settings) -> Iterator[Finding]:
    """Look at Python, at Rookery and at the packages of each extra, by loading them."""
    yield _python()
    needed = requirements(requires("rookery") or [])
    yield _core([requirement for requirement in needed if requirement.extra is None])
    extras = _EXTRAS if settings.transport == ZMQ else _EXTRAS | _EXTRAS_ON_NATS
    for extra, purpose in extras.items():
        yield _extra(extra, purpose, [requirement for requirement in needed if requirement.extra == extra])
    yield _zeromq()


def _python() -> Finding:
    least = ".".join(map(str, PYTHON_MIN))
    summary = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    facts: Facts = {"version": platform.python_version()}
    if sys.version_info < PYTHON_MIN:
        return fail("python", summary, f"install Python {least} or later", facts)
    return ok("python", summary, facts)


def _core(needed: list[Requirement]) -> Finding:
    ours = version("rookery")
    versions, troubles = _load(needed)
    summary = f"{ours}, protocol {PROTOCOL_VERSION}; {_listed(versions)}"
    facts: Facts = {"version": ours, "protocol": PROTOCOL_VERSION, **versions}
    if troubles:
        return fail("rookery", "; ".join(troubles), "pip install --upgrade rookery", facts)
    return ok("rookery", summary, facts)


def _extra(extra: str, purpose: str, needed: list[Requirement]) -> Finding:
    versions, troubles = _load(needed)
    name, install = f"extra {extra}", f"pip install --upgrade 'rookery[{extra}]'"
    if troubles:
        return warn(name, "; ".join(troubles), f"for {purpose} on this host: {install}", {**versions})
    return ok(name, _listed(versions), {**versions})


def _load(needed: list[Requirement]) -> tuple[dict[str, str | None], list[str]]:
    """Return the versions of packages, None for a missing one, and what is wrong with them."""
    versions: dict[str, str | None] = {}
    troubles = []
    for requirement in needed:
        try:
            found = versions[requirement.name] = version(requirement.name)
        except PackageNotFoundError:
            versions[requirement.name] = None
            troubles.append(f"{requirement.name} is missing")
            continue
        if _numbers(found) < _numbers(requirement.least):
            troubles.append(f"{requirement.name} {found} is older than {requirement.least}")
        try:
            import_module(_MODULES.get(requirement.name, requirement.name.replace("-", "_")))
        except Exception as error:  # a package that is broken can raise anything
            troubles.append(f"{requirement.name} {found} doesn't load: {' '.join(str(error).split())[:200]}")
    return versions, troubles


def _zeromq() -> Finding:
    zmq = import_module("zmq")  # asked for its version; sockets are made in common.zmq.sockets alone
    library, curve = zmq.zmq_version(), bool(zmq.has("curve"))
    facts: Facts = {"libzmq": library, "curve": curve}
    if not curve:
        return warn(
            "zeromq",
            f"libzmq {library} without CURVE",
            "keep all services on one host, or get CURVE with another pyzmq: pip install --force-reinstall pyzmq",
            facts,
        )
    return ok("zeromq", f"libzmq {library}, pyzmq {version('pyzmq')}, CURVE available", facts)


def _listed(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {found}" for name, found in versions.items())


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
