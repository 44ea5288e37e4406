"""One start of one process, as the broker and everybody else come to know it."""

import os
import socket
from functools import cache
from importlib.metadata import version
from typing import Any

import psutil

from common.messages import Hello, Role


def new_session() -> str:
    """Return a name for one start of one process."""
    return os.urandom(8).hex()


def hello(role: Role, name: str, session: str, **fields: Any) -> Hello:
    """Return a hello of this process."""
    return Hello(
        role=role, name=name, session=session, started_ns=int(psutil.Process().create_time() * 1e9),
        host=socket.gethostname(), pid=os.getpid(), software=_software(), **fields,
    )  # fmt: skip


@cache
def _software() -> str:
    return version("rookery")
