"""A fleet on two hosts joined by a cable, and somebody on the broker's host who watches it."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec

from common.keys import KeyHolder
from common.messages import Role, Status
from common.security import operator_of
from common.settings import Settings, to_toml
from common.zmq.keys import KeyDirectory
from tests.deploy.hosts import Host
from tests.deploy.runs import COMMANDS, ROOT, Started
from tests.torture.cable import Cable
from tests.torture.watch import Seen

ACTORS = ("far-0", "far-1")
PATIENCE_S = 240.0
"""Longest time without any progress before the harness gives up."""


class Watch:
    """All that the broker has said, and when; somebody on its host asks it about five times a second."""

    def __init__(self, host: Host, settings_file: Path) -> None:
        self.seen: list[Seen] = []
        self._settings_file = settings_file
        self._begin(host)

    def move(self, host: Host) -> None:
        """Watch from another host."""
        self.close()
        self._begin(host)

    def _begin(self, host: Host) -> None:
        command = [host.ip, "netns", "exec", host.namespace, sys.executable, "-m", "tests.torture.watch"]
        self._process = subprocess.Popen([*command, str(self._settings_file)], stdout=subprocess.PIPE, cwd=ROOT)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def statuses(self) -> list[Status]:
        """All that it said."""
        return [seen.status for seen in self.seen if seen.status is not None]

    def wait_for(self, condition: Callable[[Status], bool], what: str, timeout_s: float = PATIENCE_S) -> Seen:
        """Return the first word from now on that is as wanted; raise TimeoutError where none comes."""
        end_s = time.monotonic() + timeout_s
        at = len(self.seen)
        while time.monotonic() < end_s:
            while at < len(self.seen):
                seen = self.seen[at]
                at += 1
                if seen.status is not None and condition(seen.status):
                    return seen
            time.sleep(0.05)
        last = self.seen[-1].status if self.seen else None
        raise TimeoutError(f"not within {timeout_s:.0f} s: {what}; the last word was {last}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append(msgspec.json.decode(line, type=Seen))


class Fleet:
    """The services of one run, each on its host. Leaving it leaves nothing behind."""

    def __init__(self, near: Host, far: Host, cable: Cable, settings: Settings) -> None:
        self.near, self.far, self.cable, self.settings = near, far, cable, settings
        self.file = settings.directory.with_suffix(".toml")
        self.file.write_text(to_toml(settings))
        self.services: dict[str, Started] = {}
        self._memory_bytes: dict[int, int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start(self, host: Host, *names: str) -> None:
        """Start services on a host, by name."""
        for name in names:
            command = host.command(*_words(name), "--settings", str(self.file))
            self.services[name] = self._stack.enter_context(Started(command, environment={"OMP_NUM_THREADS": "1"}))

    def watch(self, host: Host) -> Watch:
        """Have somebody on `host` ask the broker how things stand."""
        watch = Watch(host, self.file)
        self._stack.callback(watch.close)
        return watch

    def kill(self, *names: str) -> None:
        """Kill services: no word, no goodbye."""
        self.note_memory()
        for name in names:
            service = self.services.pop(name)
            service.process.send_signal(signal.SIGKILL)
            service.process.wait()

    def ended(self) -> list[str]:
        """Return the names of the services that have ended by themselves."""
        return [name for name, service in self.services.items() if service.process.poll() is not None]

    def status(self, host: Host, *flags: str) -> tuple[int, str]:
        """Return exit code and text of `rookery status` on a host."""
        done = subprocess.run(
            host.command("rookery", "status", "--settings", str(self.file), *flags),
            capture_output=True, text=True, check=False, env={"PATH": str(COMMANDS), "COLUMNS": "160"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def note_memory(self) -> None:
        """Note the greatest resident memory that each service has had so far."""
        for service in self.services.values():
            try:
                lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
            except OSError:
                continue
            for line in lines:
                if line.startswith("VmHWM:"):
                    self._memory_bytes[service.process.pid] = 1024 * int(line.split()[1])

    @property
    def memory_max_bytes(self) -> int:
        """The greatest resident memory of any one service."""
        return max(self._memory_bytes.values(), default=0)

    def stop(self) -> Iterator[str]:
        """Stop everything as an operator does; yield a line for each service that does not end as it should."""
        self.note_memory()
        for name in sorted(self.services, key=lambda name: (name == "broker", name == "logs", name)):
            yield from self._stop(name)

    def _stop(self, name: str) -> Iterator[str]:
        service = self.services[name]
        service.process.send_signal(signal.SIGTERM)
        try:
            ended = service.end(timeout_s=60.0)
        except subprocess.TimeoutExpired:
            yield f"{name} did not stop within 60 s"
            return
        if ended.code != 0 or "Traceback" in ended.err:
            yield f"{name} ended with {ended.code}: {ended.err[-400:]}"
        if service.processes():
            yield f"{name} left processes behind"


def _words(name: str) -> list[str]:
    if name == "broker":
        return ["rookery-broker"]
    if name == "logs":
        return ["rookery-logs"]
    if name.startswith("learner-"):
        return ["rookery-learner", "--agent", name.removeprefix("learner-")]
    return ["rookery-actor", "--name", name]


def make_keys(directory: Path, settings: Settings) -> None:
    """Make keys for everybody in a fleet; all hosts share the files."""
    keys = KeyDirectory(directory)
    keys.init()
    holders = [
        *(KeyHolder(Role.ACTOR, name) for name in ACTORS),
        *(KeyHolder(Role.LEARNER, agent.name) for agent in settings.agents),
        KeyHolder(Role.COLLECTOR, "logs"),
        operator_of(settings),
    ]
    for holder in holders:
        keys.add(holder)
