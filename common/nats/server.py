"""A nats-server process of our own: started with a written configuration, waited for, stopped for sure.

For `rookery up`, the local cluster and the tests. Its process group is its own, so that a Ctrl-C misses it, and it
ends with the process that started it: `python -m common.nats.server PARENT SERVER [ARGUMENT]...` has the kernel see
to that and then becomes the server. So that module must not import anything slow.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from common.errors import OperatorError
from common.nats.server_config import NatsServerSettings, configuration

BINARY = "nats-server"
PLACES = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin"
"""Where it is looked for besides PATH, which on Debian has no sbin for users."""
START_S = 30.0
"""How long it may take to answer: it reads its store first."""
STOP_S = 10.0
POLL_S = 0.02
_FAILURE = re.compile(r"\[(?:FTL|ERR)\] (.*)|^nats-server: (.*)", re.MULTILINE)
_TAKEN = re.compile(r"listen tcp (\S+): bind: address already in use")
_TAKEN_ADVICE = "{} is taken: is another NATS server running there? Choose another port"
_PR_SET_PDEATHSIG = 1


def find_server() -> str:
    """Return the path of nats-server; raise OperatorError where there is none."""
    found = shutil.which(BINARY) or shutil.which(BINARY, path=PLACES)
    if found is None:
        raise OperatorError(
            "no nats-server here: install it (Debian, Ubuntu: sudo apt-get install nats-server; "
            "macOS: brew install nats-server; else https://github.com/nats-io/nats-server/releases)"
        )
    return found


def server_version(binary: str) -> str:
    """Return a nats-server's version, such as 2.9.10; raise OperatorError for a program that tells none."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=START_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OperatorError(f"{binary} can't be run: {error}") from error
    version = re.search(r"v?(\d+\.\d+\.\d+\S*)", said.stdout)
    if version is None:
        raise OperatorError(f"{binary} is no nats-server: `{BINARY} --version` says {said.stdout.strip()[:100]!r}")
    return version[1]


class NatsServer:
    """One nats-server. A context manager; start it from a thread that lives for as long: with that, too, it ends.

    Raises OperatorError, one clear line, where it can't be started. What it has stored is there at the next start.
    """

    def __init__(self, settings: NatsServerSettings) -> None:
        self.settings = settings
        self.syncs_always = False
        """Whether it has acknowledged messages on disk; known once it was started."""
        self._process: subprocess.Popen[bytes] | None = None
        self._printed_before = 0

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return self.settings.address

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self, timeout_s: float = START_S, give_up: Callable[[], bool] = lambda: False) -> None:
        """Start it and wait until it answers; one that runs already is left alone. `give_up` is asked meanwhile."""
        if self.pid is not None:
            return
        settings = self.settings
        if _listens(settings.host, settings.port):
            raise OperatorError(_TAKEN_ADVICE.format(f"{settings.host}:{settings.port}"))
        command = self.command()
        with _appended(settings.log_file) as log:
            self._printed_before = log.tell()
            tether = (sys.executable, "-P", "-m", "common.nats.server", str(os.getpid()))
            self._process = subprocess.Popen(
                [*tether, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_until_it_answers(time.monotonic() + timeout_s, give_up)
        except BaseException:
            self.kill()
            raise

    def command(self) -> list[str]:
        """Write its configuration, and return the command line that starts it."""
        binary = find_server()
        self._write_configuration(binary)
        return [binary, "-c", str(self.settings.configuration_file)]

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Have it end in order, and kill it if it does not; more than once does nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut of its machine would, but for what the system still writes."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # it is no more
            pass
        self._process.wait()
        self._process = None

    def _write_configuration(self, binary: str) -> None:
        settings = self.settings
        try:
            settings.directory.mkdir(parents=True, exist_ok=True)
            for self.syncs_always in (True, False):
                text = configuration(settings, sync_always=self.syncs_always)
                settings.configuration_file.write_text(text, encoding="utf-8")
                checked = subprocess.run(
                    [binary, "-t", "-c", str(settings.configuration_file)],
                    capture_output=True, text=True, errors="replace", timeout=START_S, check=False,
                )  # fmt: skip
                if checked.returncode == 0:
                    return
                if "sync_interval" not in checked.stderr:
                    break
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OperatorError(f"{settings.directory}: no nats-server can be started there: {error}") from error
        raise OperatorError(f"nats-server refuses {settings.configuration_file}: {_told(checked.stderr)}")

    def _wait_until_it_answers(self, end_s: float, give_up: Callable[[], bool]) -> None:
        settings, process = self.settings, self._process
        assert process is not None
        while True:
            if process.poll() is not None:
                raise OperatorError(self._why_it_ended())
            about = _ask(settings.host, settings.port)
            if about.get("server_name") == settings.name and about.get("jetstream"):
                return
            if time.monotonic() > end_s or give_up():
                raise OperatorError(f"nats-server does not answer at {self.address}: see {settings.log_file}")
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                pass

    def _why_it_ended(self) -> str:
        with self.settings.log_file.open("rb") as file:
            file.seek(self._printed_before)
            printed = file.read().decode("utf-8", "replace")
        taken = _TAKEN.search(printed)
        if taken is not None:
            return _TAKEN_ADVICE.format(taken[1])
        return f"nats-server did not start: {_told(printed)} (see {self.settings.log_file})"


def _told(printed: str) -> str:
    """Return what a server printed of why it can't go on."""
    failures = [first or second for first, second in _FAILURE.findall(printed)]
    lines = printed.strip().splitlines()
    return failures[-1].strip() if failures else lines[-1] if lines else "it printed nothing"


def _appended(path: Path) -> Any:
    try:
        return path.open("ab")
    except OSError as error:
        raise OperatorError(f"{path}: can't be written: {error.strerror}") from error


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True


def _ask(host: str, port: int) -> dict[str, Any]:
    """Return what the server at an address says of itself before anything else; nothing where none is."""
    said = b""
    try:
        with socket.create_connection((host, port), 1.0) as connection:
            connection.settimeout(1.0)
            while b"\r\n" not in said and len(said) < 65536:
                came = connection.recv(65536)
                if not came:
                    return {}
                said += came
        about = json.loads(said.partition(b"\r\n")[0].removeprefix(b"INFO "))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def main() -> None:
    """Tie this process to its parent, and become the server that the arguments name."""
    if sys.platform == "linux":  # elsewhere a server outlives a parent that is killed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("nats-server: who started this is gone")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
