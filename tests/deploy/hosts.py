"""Hosts, played by network namespaces: each has its own network, and all share the files."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.deploy.runs import COMMANDS

PREFIX_BITS = 24
"""All hosts are in one subnet."""
_CLONE_NEWNET = 0x40000000


class NoHosts(Exception):
    """Network namespaces can't be made here; the text says why."""


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace that stands for a host."""

    namespace: str
    address: str
    ip: str
    """The path of the `ip` command."""

    def command(self, *words: str) -> list[str]:
        """Return a command as it runs on this host; ours are found by name."""
        return [self.ip, "netns", "exec", self.namespace, str(COMMANDS / words[0]), *words[1:]]

    def tell(self, *words: str) -> str:
        """Run `ip` on this host's network, and return what it prints; raise NoHosts where it fails."""
        return _tell(self.ip, "-n", self.namespace, *words)

    def bring_up(self, device: str) -> None:
        """Give a device of this host the host's address, and bring it up."""
        self.tell("address", "add", f"{self.address}/{PREFIX_BITS}", "dev", device)
        self.tell("link", "set", device, "up")


@contextmanager
def hosts(*addresses: str) -> Iterator[list[Host]]:
    """Make a host for each address, none joined to another; raise NoHosts where that can't be done."""
    ip = shutil.which("ip") or shutil.which("ip", path="/sbin:/usr/sbin")
    if ip is None:
        raise NoHosts("no `ip` here to make network namespaces with (Debian: iproute2)")
    if os.geteuid() != 0:
        raise NoHosts("only root can make network namespaces")
    mark = os.urandom(3).hex()
    made = [Host(f"nest{mark}{number}", address, ip) for number, address in enumerate(addresses)]
    with ExitStack() as stack:
        for host in made:
            _tell(ip, "netns", "add", host.namespace)
            stack.callback(subprocess.run, [ip, "netns", "del", host.namespace], check=False)
            host.tell("link", "set", "lo", "up")
        yield made


def join(one: Host, other: Host) -> None:
    """Join two hosts by a cable that is perfect."""
    one.tell("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other.namespace)
    for host in (one, other):
        host.bring_up("cable")


@contextmanager
def within(namespace: str) -> Iterator[None]:
    """Be in a network namespace: what this thread makes belongs there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if libc.setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"can't enter {path}")
        finally:
            os.close(descriptor)

    kept = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        enter(f"/run/netns/{namespace}")
        try:
            yield
        finally:
            enter(f"/proc/self/fd/{kept}")
    finally:
        os.close(kept)


def _tell(*words: str) -> str:
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        raise NoHosts(f"network namespaces can't be made here: {error.stderr.strip()}") from error
