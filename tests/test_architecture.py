"""The structure holds: who may import whom, and what the router must never load."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("actor", "broker", "learner")
PACKAGES = (*SERVICES, "agent", "arena", "common", "deploy", "watch")
MAX_LINES = 500
ALLOWED = {
    "common": {"common"},
    "agent": {"agent", "common"},
    "arena": {"arena", "agent", "common"},
    "watch": {"watch", "agent", "common"},
    "actor": {"actor", "agent", "common"},
    "broker": {"broker", "common"},
    "learner": {"learner", "agent", "common"},
    "deploy": set(PACKAGES),
}

TRANSPORTS = {
    "zmq": ("common/zmq/", {"broker/router.py", "broker/gate.py"}),
    "nats": ("common/nats/", set[str]()),
}
"""What imports each transport's library: its links, and others for the reason that they give."""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    for path in modules(package):
        ours = {name.split(".")[0] for name in imported(path)} & set(PACKAGES)
        assert ours <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {ours - ALLOWED[package]}"


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_unsafe_is_imported(package: str) -> None:
    for path in modules(package):
        found = {name.split(".")[0] for name in imported(path)} & {"pickle", "marshal", "shelve", "dill"}
        assert not found, f"{path.relative_to(ROOT)} imports {found}"


def named(path: Path) -> set[str]:
    """Every name that a module defines, imports or uses."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        name
        for node in ast.walk(tree)
        for name in (getattr(node, kind, None) for kind in ("id", "attr", "name"))
        if isinstance(name, str)
    }


def users(uses: Callable[[Path], bool]) -> set[str]:
    return {str(path.relative_to(ROOT)) for package in PACKAGES for path in modules(package) if uses(path)}


@pytest.mark.parametrize("library", TRANSPORTS)
def test_a_transports_library_is_used_only_in_its_links_and_on_the_brokers_side(library: str) -> None:
    folder, others = TRANSPORTS[library]
    using = users(lambda path: any(name.split(".")[0] == library for name in imported(path)))
    assert {path for path in using if not path.startswith(folder)} == others


def test_a_transport_is_named_only_by_itself_and_where_it_is_chosen() -> None:
    """Everybody else is given a common.links.Transport."""
    theirs = ("common/zmq/", "common/nats/", "common/security.py", "broker/")
    links = ("ZmqTransport", "NatsTransport", "Ports")
    named_by = users(lambda path: any(name in links for name in named(path)))
    assert {path for path in named_by if not path.startswith(theirs)} == set()


@pytest.mark.parametrize("module", ["links", "session", "leased_games", "logs", "log_lines", "messages", "wire"])
def test_what_is_no_matter_of_a_transport_loads_none(module: str) -> None:
    code = f"import sys, common.{module}; print(*(n for n in ('zmq', 'asyncio') if n in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


@pytest.mark.parametrize("module", ["broker.service", "broker.logs", "broker.commands"])
def test_the_router_loads_no_chess_no_numpy_and_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(*(n for n in ('chess', 'numpy', 'torch', 'pandas') if n in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


def test_the_actor_loads_no_torch_and_no_pandas_until_a_query_asks() -> None:
    code = "import sys, actor.__main__; print(*(n for n in ('torch', 'pandas') if n in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_made_known_to_msgspec_at_import(package: str) -> None:
    """By decoders: what two threads decode first at once crashes (common/wire.py)."""
    for path in modules(package):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not calls & {"msgspec.msgpack.decode", "msgspec.json.decode"}, path.relative_to(ROOT)
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            assert "Decoder(" not in ast.unparse(function), f"{path.relative_to(ROOT)}: {function.name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is_and_is_short(package: str) -> None:
    for path in modules(package):
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
        assert text.count("\n") <= MAX_LINES, f"{path.relative_to(ROOT)} is too long"
        assert path.stem not in {"utils", "helpers", "misc"}
