"""Real service processes for the benches that need them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.scale import ROOT
from common.errors import BrokerUnreachable
from common.links import Transport
from common.messages import Status
from common.settings import Settings, to_toml
from common.zmq.ports import CHANNELS

START_S = 60.0
ANSWER_S = 5.0
STOP_S = 60.0
HOST = "127.0.0.1"


def free_base_port() -> int:
    """Return the first of as many free ports as a broker needs."""
    for base in range(21_000 + os.getpid() % 1000 * 10, 65_000, len(CHANNELS)):
        with ExitStack() as stack:
            try:
                for offset in range(len(CHANNELS)):
                    stack.enter_context(socket.socket()).bind((HOST, base + offset))
            except OSError:
                continue
        return base
    raise OSError("no free ports")


@contextmanager
def service(module: str, settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module` with `settings` until the block ends, then have it drain; it must not fail."""
    directory = Path(settings.run)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "settings.toml"
    file.write_text(to_toml(settings))
    errors = directory / f"{module}.stderr"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROOKERY_")}
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--settings", str(file), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=ROOT,
            env=environment,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    if code != 0:
        raise RuntimeError(f"{module} ended with {code}: {errors.read_text()[-2000:]}")


def wait_for(
    transport: Transport, enough: Callable[[Status], bool], timeout_s: float = START_S, every_s: float = 0.05
) -> Status:
    """Ask the broker how things stand until it is as `enough` wants it."""
    end_s = time.monotonic() + timeout_s
    link = transport.operator()
    try:
        while time.monotonic() < end_s:
            try:
                status = link.status(ANSWER_S)
            except BrokerUnreachable:
                continue
            if enough(status):
                return status
            time.sleep(every_s)
    finally:
        link.close()
    raise TimeoutError(f"the services did not get there in {timeout_s:.0f} s")
