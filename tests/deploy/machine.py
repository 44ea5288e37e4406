"""A machine with a real systemd: a container over a throw-away copy of this host's files, without a network."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil

from tests.deploy.runs import POLL_S

BOOT_S = 40.0


class NoMachine(Exception):
    """A container can't be started here; says why."""


class Machine:
    """A container that boots to basic.target; leaving it leaves nothing behind.

    Its file system is this host's root with a layer in memory above it: what is written there is gone afterwards.
    `root` is that file system as seen from here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "root"
        self._stack = ExitStack()
        self._leader = 0

    def __enter__(self) -> Self:
        missing = [name for name in ("systemd-nspawn", "nsenter", "mount") if shutil.which(name) is None]
        if missing:
            raise NoMachine(f"no {', '.join(missing)} here (Debian: systemd-container, util-linux, mount)")
        if os.geteuid() != 0:
            raise NoMachine("only root can start a container")
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._mount("tmpfs", "-o", "size=2g", to=self._folder)
            for name in ("upper", "work", "root"):
                (self._folder / name).mkdir()
            layers = f"lowerdir=/,upperdir={self._folder}/upper,workdir={self._folder}/work"
            self._mount("overlay", "-o", layers, to=self.root)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def boot(self) -> None:
        """Start its systemd, and wait until it takes orders; raise NoMachine if it never does."""
        console = (self._folder / "console").open("wb")
        self._stack.callback(console.close)
        nspawn = subprocess.Popen(
            [
                "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
                f"--machine=rookery{os.getpid()}", f"--directory={self.root}", "--boot",
                "systemd.unit=basic.target",
            ],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
        )  # fmt: skip
        self._stack.callback(self._end, nspawn)
        end_s = time.monotonic() + BOOT_S
        while not self._is_up(nspawn):
            if nspawn.poll() is not None or time.monotonic() > end_s:
                said = (self._folder / "console").read_text(errors="replace").strip().splitlines()
                raise NoMachine(f"the container doesn't boot: {said[-1] if said else 'it says nothing'}")
            time.sleep(0.1)

    def run(self, *words: str | Path, check: bool = True) -> str:
        """Run a command in there as root, and return what it prints."""
        done = subprocess.run(
            ["nsenter", "--all", f"--target={self._leader}", "--wd=/", *map(str, words)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str) -> str:
        """Return what a unit has printed, for a failed test to show."""
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", f"--unit={unit}", check=False)

    def wait_until(self, condition: Callable[[], bool], what: str, unit: str, timeout_s: float = 90.0) -> None:
        """Wait until `condition` holds; fail with the unit's journal if it doesn't."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, f"not within {timeout_s:.0f} s: {what}\n{self.journal(unit)}"
            time.sleep(5 * POLL_S)

    def _mount(self, kind: str, *options: str, to: Path) -> None:
        done = subprocess.run(["mount", "-t", kind, *options, kind, str(to)], capture_output=True, text=True)
        if done.returncode != 0:
            raise NoMachine(f"no {kind} can be mounted: {done.stderr.strip()}")
        self._stack.callback(subprocess.run, ["umount", "--lazy", str(to)], check=True)

    def _is_up(self, nspawn: "subprocess.Popen[bytes]") -> bool:
        children = psutil.Process(nspawn.pid).children() if nspawn.poll() is None else []
        if not children:
            return False
        self._leader = children[0].pid
        asked = subprocess.run(
            ["nsenter", "--all", f"--target={self._leader}", "systemctl", "is-active", "basic.target"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return asked.stdout.strip() == "active"

    def _end(self, nspawn: "subprocess.Popen[bytes]") -> None:
        # Its first process takes all others with it.
        if self._leader and nspawn.poll() is None and psutil.pid_exists(self._leader):
            os.kill(self._leader, signal.SIGKILL)
        try:
            nspawn.wait(10.0)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()
